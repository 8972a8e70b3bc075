"""Episodes of tasks in a file system, for tests."""

import asyncio

import numpy as np
from llmgym.envs.shell import ShellEnv

from llmgym.messages import AssistantMessage, ToolCall

TRUSTED = {"sandbox": "process", "allow_unsafe": True}


def settings_of(level):
    return {"sandbox": level, "allow_unsafe": level == "process"}


def play(env, task, *commands, answer=""):
    """Run the commands, submit the answer, and return the score and what was printed."""

    async def turns():
        printed = []
        for command in commands:
            response = await env.step(_calling("shell", command=command))
            printed.append(response.messages[0].content)
        response = await env.step(_calling("submit", answer=answer))
        assert response.terminated
        return response.score, printed

    env.reset(task, np.random.default_rng(0))
    return asyncio.run(turns())


def solved(family, level, *, difficulty=1, index=0):
    """The score of the reference turns, and the task."""
    env = ShellEnv(families=[family], difficulty=difficulty, **settings_of(level))
    try:
        task = env.tasks("train")[index]
        shell, submit = env.solve(task)
        return play(env, task, shell.arguments["command"], answer=submit.arguments["answer"])[0], task
    finally:
        env.close()


def _calling(name, **arguments):
    return AssistantMessage(content="", tool_calls=(ToolCall(name, arguments),))
