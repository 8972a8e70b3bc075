"""`llmgym play`: a person answers in the terminal."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from ..episode import TokenEnv
from ..episode.register import make_token_env
from ..errors import ConfigError
from ..messages import Message
from .shared import DONE, Commands, add_command, add_env, console, env_kwargs

_STYLES = {"system": "magenta", "user": "cyan", "tool": "yellow"}


def add_play(commands: Commands) -> None:
    """Add the command `play`."""
    parser = add_command(
        commands,
        "play",
        summary="answer an environment yourself, a line a turn",
        about=(
            "Answer an environment yourself and see what it pays. A line is a turn; one that ends in a backslash goes "
            "on in the next line. Ctrl-D gives up."
        ),
        examples="""
        llmgym play llmgym/GuessNumber-v0
        llmgym play llmgym/Calculator-v0 --split test --task 0.7
        """,
    )
    add_env(parser)
    parser.add_argument("--seed", type=int, help="draws the task; a new one each time where left out")
    parser.add_argument("--task", metavar="KEY", help="the key of a task, instead of drawing one")
    parser.add_argument("--split", default="train", help="of the tasks (default: %(default)s)")
    parser.set_defaults(run=_play)


def _play(options: Namespace) -> int:
    """One episode; each line of the standard input is a turn, and its end gives up.

    Raises:
        ConfigError: a keyword is none of the environment, or the seed is negative.
        UnknownTaskError: no task of the split has the key.
    """
    if options.seed is not None and options.seed < 0:
        raise ConfigError(f"--seed is {options.seed}, but it must be at least 0.")
    env = make_token_env(options.env, view="text", split=options.split, **env_kwargs(options))
    out = console()
    try:
        _, info = env.reset(seed=options.seed, options={"task": options.task} if options.task else None)
        _introduce(out, env, info["task"])
        while not env.episode.is_over:
            text = _read_turn()
            if text is None:
                out.print("\ngiven up")
                break
            _, _, _, _, info = env.step(text)
            _show(out, env.episode.new_messages)
            if "score" in info:
                reason = f": {info['score'].reason}" if info["score"].reason else ""
                out.print(f"reward {info['score'].reward:g}{reason}", markup=False, soft_wrap=True)
        else:
            _conclude(out, env)
        return DONE
    finally:
        env.close()


def _introduce(out: Console, env: TokenEnv, task: str) -> None:
    if out.is_terminal:
        out.print(f"[dim]task {task}, at most {env.limits.turns} turns; Ctrl-D gives up[/]")
        for tool in env.message_env.tools:
            out.print(f"[dim]tool {tool.name}: {tool.description}[/]", soft_wrap=True)
    _show(out, env.episode.new_messages)


def _read_turn() -> str | None:
    """What a person types; None at the end of the input."""
    lines: list[str] = []
    while True:
        print("... " if lines else "> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            return "\n".join(lines) if lines else None
        line = line.rstrip("\n")
        if not sys.stdin.isatty():
            print(line)  # nobody saw it typed
        if not line.endswith("\\"):
            return "\n".join([*lines, line])
        lines.append(line[:-1])


def _show(out: Console, messages: Sequence[Message]) -> None:
    for message in messages:
        style = _STYLES.get(message.role, "")
        out.print(f"{message.role}: ", style=style, end="")
        out.print(message.content, markup=False, soft_wrap=True)


def _conclude(out: Console, env: TokenEnv) -> None:
    trajectory = env.trajectory()
    out.print(f"{trajectory.stop_reason}, reward in all {trajectory.reward:g}", style="bold")
    episode = env.episode
    if trajectory.turns and episode.last_score is None:
        out.print("the last turn was cut by a budget, so it was not scored", soft_wrap=True)
    if episode.task.answer is not None:
        out.print(f"the reference answer is {episode.task.answer}", markup=False, soft_wrap=True)
        return
    turns: Any = env.solve(episode.task)
    if turns:
        out.print(f"the reference turns are {turns}", markup=False, soft_wrap=True)
