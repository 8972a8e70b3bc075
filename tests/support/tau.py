"""Episodes of the tau-bench environments, turn by turn."""

import numpy as np
from llmgym.envs.tau.database import Database
from llmgym.envs.tau.judging import DESKS
from llmgym.envs.tau.made_up import MadeUpData

from llmgym.messages import AssistantMessage, ToolCall


def play(env, task, turns):
    """The responses to these turns, up to the end of the task."""
    env.reset(task, np.random.default_rng(0))
    responses = []
    for turn in turns:
        is_call = isinstance(turn, ToolCall)
        message = AssistantMessage(content="" if is_call else turn, tool_calls=(turn,) if is_call else ())
        responses.append(env.step(message))
        if responses[-1].terminated:
            break
    return responses


def reward_of(responses):
    """Of the whole episode."""
    return sum(response.score.reward for response in responses if response.score is not None)


def desk_of(domain, version=1):
    """The desk of a made-up world, as an episode finds it."""
    desk = DESKS[domain](version)
    desk.database = Database(MadeUpData(domain, version).snapshot())
    return desk
