"""`llmgym play`: a person answers in the terminal."""

import sys
from argparse import Namespace

from ..episode.register import make_token_env
from ..messages import Message


def play(options: Namespace) -> int:
    """One episode; each line of the standard input is a turn, and its end gives up.

    Raises:
        UnknownTaskError: no task of the split has the key.
    """
    env = make_token_env(options.env, view="text", split=options.split)
    episode = env.episode
    try:
        env.reset(seed=options.seed, options={"task": options.task} if options.task else None)
        _show(episode.new_messages)
        while not episode.is_over:
            print("> ", end="", flush=True)
            line = sys.stdin.readline()
            if not line:
                print("\ngiven up")
                return 0
            _, reward, _, _, info = env.step(line.rstrip("\n"))
            _show(episode.new_messages)
            if "score" in info:
                reason = f": {info['score'].reason}" if info["score"].reason else ""
                print(f"reward {reward:g}{reason}")
        trajectory = env.trajectory()
        print(f"{trajectory.stop_reason}, reward in all {trajectory.reward:g}")
        if episode.task.answer is not None:
            print(f"the reference answer is {episode.task.answer}")
        return 0
    finally:
        env.close()


def _show(messages: tuple[Message, ...]) -> None:
    for message in messages:
        print(f"{message.role}: {message.content}")
