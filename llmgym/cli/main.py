"""The command `llmgym`: the words of the Python interface, on the command line.

Exit codes: 0 done; 1 a check failed, or whoever read the output left; 2 what was asked for is wrong, or cannot be done
here; 3 our machinery failed; 130 interrupted.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
from rich.console import Console
from rich.table import Table

from .. import __version__
from ..episode.register import is_llmgym_env
from ..errors import CheckError, ConfigError, InfrastructureError, LLMGymError
from ..registry import AGENTS

_DONE, _CHECK_FAILED, _ASKED_WRONGLY, _OUR_FAILURE = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parsed(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except CheckError as error:
        print(error, file=sys.stderr)
        return _CHECK_FAILED
    except InfrastructureError as error:
        print(f"llmgym: {error}", file=sys.stderr)
        return _OUR_FAILURE
    except (LLMGymError, gym.error.Error) as error:
        print(f"llmgym: {error}", file=sys.stderr)
        return _ASKED_WRONGLY
    except KeyboardInterrupt:
        print("llmgym: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as in `llmgym envs | head -1`; the interpreter flushes once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1  # as Rich does
    return code


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """As `parse_args`, which gives up on `train demo --seed 1 steps=20`: overrides that come after an option."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    wrong = [argument for argument in rest if argument.startswith("-") or "overrides" not in options]
    if wrong:
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    if rest:
        options.overrides += rest
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llmgym",
        description="Gymnasium environments for language-model agents, and the agents that learn in them.",
        epilog="Begin with: llmgym train demo",
    )
    parser.add_argument("--version", action="version", version=f"llmgym {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    envs = commands.add_parser("envs", help="list the environments")
    envs.set_defaults(run=_envs)
    agents = commands.add_parser("agents", help="list the learning agents")
    agents.set_defaults(run=_agents)
    for listing in (envs, agents):
        listing.add_argument("--json", action="store_true", help="one JSON list on standard output")

    check = commands.add_parser("check", help="check an environment: seeds, tokens, leaks, rewards, solutions")
    check.add_argument("env", metavar="ID", help="e.g. llmgym/Math-v0, or package:namespace/Name-v0")
    check.add_argument("--tasks", type=int, default=5, help="tasks to try (default: %(default)s)")
    check.set_defaults(run=_check)

    play = commands.add_parser("play", help="answer an environment yourself, a line a turn")
    play.add_argument("env", metavar="ID")
    play.add_argument("--seed", type=int, help="draws the task; a new one each time where left out")
    play.add_argument("--task", metavar="KEY", help="the key of a task, instead of drawing one")
    play.add_argument("--split", default="train", help="of the tasks (default: %(default)s)")
    play.set_defaults(run=_play)

    train = commands.add_parser(
        "train",
        help="train a policy from a run file or a recipe",
        description="Train a policy, measure it on held-out tasks before and after, and write a run folder.",
        epilog="Example: llmgym train demo --seed 1 steps=20 learner.learning_rate=5e-4",
    )
    train.add_argument("recipe", metavar="FILE|RECIPE", help="a run file (*.toml), or a recipe: demo")
    train.add_argument("overrides", nargs="*", metavar="name=value", help="settings to change, by dotted name")
    train.add_argument("--seed", type=int, help="of everything random")
    train.add_argument("--output", help="run folder; must be empty (default: the next free one under runs/)")
    train.add_argument("--json", action="store_true", help="be quiet, then print one JSON object")
    train.set_defaults(run=_train)

    show = commands.add_parser("show", help="print what a run came to, and write its report.html anew")
    show.add_argument("folder", metavar="RUN", help="the folder of a finished run")
    show.add_argument("--json", action="store_true", help="one JSON object on standard output")
    show.set_defaults(run=_show)

    evaluation = commands.add_parser("eval", help="measure a model on an environment")
    evaluation.add_argument("env", metavar="ID")
    evaluation.add_argument("--model", required=True, metavar="DIR", help="a model folder or hub id")
    evaluation.add_argument("--tasks", type=int, default=200, help="held-out tasks (default: %(default)s)")
    evaluation.add_argument("--samples", type=int, default=1, help="episodes for each task (default: %(default)s)")
    evaluation.add_argument("--split", default="test", help="of the tasks (default: %(default)s)")
    evaluation.add_argument("--temperature", type=float, default=1.0, help="0 is greedy (default: %(default)s)")
    evaluation.add_argument("--seed", type=int, default=0)
    evaluation.add_argument("--json", action="store_true", help="one JSON object on standard output")
    evaluation.set_defaults(run=_eval)
    return parser


def _envs(options: argparse.Namespace) -> int:
    specs = [spec for spec in gym.registry.values() if is_llmgym_env(spec)]
    _print_list(options, "environment", [(spec.id, str(spec.kwargs["env"])) for spec in specs])
    return _DONE


def _agents(options: argparse.Namespace) -> int:
    _print_list(options, "agent", [(name, str(AGENTS.entry(name))) for name in AGENTS.names()])
    return _DONE


def _print_list(options: argparse.Namespace, what: str, rows: Sequence[tuple[str, str]]) -> None:
    if options.json:
        print(json.dumps([name for name, _ in rows]))
        return
    table = Table(what, "made by", box=None)
    for row in sorted(rows):
        table.add_row(*row)
    Console().print(table)


def _check(options: argparse.Namespace) -> int:
    from ..episode.check_env import check_env

    print(check_env(options.env, num_tasks=options.tasks))
    return _DONE


def _play(options: argparse.Namespace) -> int:
    from .play import play

    return play(options)


def _train(options: argparse.Namespace) -> int:
    from ..training import RunProgress
    from .runs import run_file

    overrides = list(options.overrides)
    if options.seed is not None:
        overrides.append(f"seed={options.seed}")
    if options.output is not None:
        overrides.append(f"output={json.dumps(options.output)}")
    result = run_file(options.recipe, overrides, progress=RunProgress(quiet=options.json))
    if options.json:
        figures: dict[str, Any] = {"folder": str(result.folder)}
        for name, evaluations in (("before", result.before), ("after", result.after)):
            figures[name] = {decoding: evaluation.summary() for decoding, evaluation in evaluations.items()}
        print(json.dumps(figures))
    return _DONE


def _show(options: argparse.Namespace) -> int:
    from .show import show

    return show(options)


def _eval(options: argparse.Namespace) -> int:
    from ..evaluation import evaluate

    if options.samples < 1:
        raise ConfigError(f"--samples is {options.samples}, but every task needs at least one episode.")
    result = evaluate(
        options.model,
        options.env,
        num_tasks=options.tasks,
        num_samples=options.samples,
        split=options.split,
        temperature=options.temperature,
        seed=options.seed,
    )
    if options.json:
        print(json.dumps(result.summary()))
    else:
        print(f"success {result.success}  reward {result.reward}  episodes {len(result.trajectories)}")
    return _DONE
