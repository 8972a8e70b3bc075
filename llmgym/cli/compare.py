"""`llmgym compare`: whether one policy is better than another on the same tasks."""

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from ..episode import Trajectory
from ..errors import ConfigError
from ..evaluation import Evaluation, answer_of
from ..evaluation.compare import Comparison, compare_reward, compare_success
from ..evaluation.stored import StoredEpisodes, stored_evaluations
from .shared import DONE, Commands, add_command, add_json, console, print_json, table


def add_compare(commands: Commands) -> None:
    """Add the command `compare`."""
    parser = add_command(
        commands,
        "compare",
        summary="compare two runs or evaluations on the same tasks, with a paired test",
        about=(
            "Compare two runs, evaluations, or files of episodes, task by task: the difference with its 95 % interval, "
            "and a p-value. One episode a task: exact McNemar test and Tango's score interval. Several: a paired "
            "sign-flip permutation test of the task means. Of a run, its last held-out evaluation is taken."
        ),
        examples="""
        llmgym compare runs/grpo runs/rloo
        llmgym compare evals/base evals/trained --show-tasks
        llmgym compare runs/a/held_out/before-greedy.jsonl.gz runs/a/held_out/after-greedy.jsonl.gz
        """,
    )
    parser.add_argument("first", metavar="FIRST", help="folder of a run or an evaluation, or a file of episodes")
    parser.add_argument("second", metavar="SECOND", help="what is compared with it")
    parser.add_argument("--show-tasks", action="store_true", help="list the tasks whose success differs")
    add_json(parser)
    parser.set_defaults(run=_compare)


def _compare(options: Namespace) -> int:
    first, second = stored_evaluations(options.first), stored_evaluations(options.second)
    if len(first) == len(second) == 1:
        (name,) = second
        pairs = {name: (*first.values(), *second.values())}  # also where their decodings differ: then it is said
    else:
        pairs = {name: (first[name], second[name]) for name in first if name in second}
    if not pairs:
        raise ConfigError(
            f"{options.first!r} holds {' and '.join(first)} episodes, but {options.second!r} {' and '.join(second)} "
            "ones. Compare episodes that were decoded alike, or name the two files themselves."
        )
    results = {name: _Result(*pair) for name, pair in pairs.items()}
    if options.json:
        print_json({"first": options.first, "second": options.second} | {n: r.to_json() for n, r in results.items()})
        return DONE
    out = console()
    for name, result in results.items():
        out.print(f"[bold]{name}[/], {len(result.success.values)} tasks in both")
        out.print(result.table(options.first, options.second))
        for warning in result.warnings:
            out.print("[yellow]note:[/] ", end="")
            out.print(warning, markup=False, soft_wrap=True)
        if options.show_tasks:
            out.print(result.task_table())
        out.print()
    return DONE


class _Result:
    """Two evaluations of one decoding, side by side."""

    def __init__(self, first: StoredEpisodes, second: StoredEpisodes) -> None:
        self.first, self.second = first.evaluation(), second.evaluation()
        self.success = compare_success(self.first, self.second)
        self.reward = compare_reward(self.first, self.second)
        self.warnings = [*_differences(first, second, self.first, self.second), *_unpaired(self.success)]

    def table(self, first: str, second: str) -> Any:
        """Figures of both, and what lies between them."""
        shown = table("", first, second, "difference", "p-value")
        difference = self.success.difference
        low, high = 100 * difference.low, 100 * difference.high
        shown.add_row(
            "success",
            *(f"{100 * _mean(self.success, place):.1f} %" for place in (0, 1)),
            f"{100 * difference.value:+.1f} points [{low:+.1f}, {high:+.1f}]",
            _p_value(self.success.p_value),
        )
        if self.reward.values != self.success.values:
            difference = self.reward.difference
            shown.add_row(
                "mean reward",
                *(f"{_mean(self.reward, place):.3f}" for place in (0, 1)),
                f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]",
                _p_value(self.reward.p_value),
            )
        changed = self.success.changed.values()
        better = sum(after > before for before, after in changed)
        shown.add_row("better / worse tasks", "", "", f"{better} / {len(changed) - better}")
        shown.caption, shown.caption_justify = self.success.method, "left"
        return shown

    def task_table(self) -> Any:
        """The tasks whose success differs, what became worse first."""
        shown = table("task", "success", "expected", "answer of the first", "answer of the second")
        episodes = [_by_task(evaluation) for evaluation in (self.first, self.second)]
        for key, (before, after) in self.success.changed.items():
            one, other = (of[key] for of in episodes)
            expected = next((turn.score.expected for turn in one.turns if turn.score and turn.score.expected), "")
            answers = (_short(answer_of(episode) or "") for episode in (one, other))
            shown.add_row(key, f"{before:g} -> {after:g}", _short(expected or ""), *answers)
        return shown

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "num_tasks": len(self.success.values),
            **{name: _comparison_json(getattr(self, name)) for name in ("success", "reward")},
            "changed_tasks": {
                key: {"first": before, "second": after} for key, (before, after) in self.success.changed.items()
            },
            "only_first": self.success.only_first,
            "only_second": self.success.only_second,
            "warnings": self.warnings,
        }


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "first": _mean(comparison, 0),
        "second": _mean(comparison, 1),
        "difference": comparison.difference.to_json(),
        "p_value": comparison.p_value,
        "method": comparison.method,
    }


def _differences(
    first: StoredEpisodes, second: StoredEpisodes, of_first: Evaluation, of_second: Evaluation
) -> Iterator[str]:
    """What else than the policy differs."""
    pairs: dict[str, tuple[Any, Any]] = {
        "environment": (first.env, second.env),
        "keywords of the environment": (first.env_kwargs, second.env_kwargs),
        "split": (first.split, second.split),
        "full reward": (of_first.full_reward, of_second.full_reward),
        "samples a task": (of_first.num_samples, of_second.num_samples),
    }
    one, other = of_first.trajectories[0].sampling, of_second.trajectories[0].sampling
    for field in ("temperature", "top_p", "top_k"):
        pairs[field.replace("_", "-")] = getattr(one, field, None), getattr(other, field, None)
    for name, (value, other_value) in pairs.items():
        if value != other_value:
            yield f"the {name} differs: {value} and {other_value}"
    if first.split != second.split or first.env != second.env:
        yield "tasks of other splits or environments may share a key and still be other tasks"


def _unpaired(comparison: Comparison) -> Iterator[str]:
    for name, keys in (("first", comparison.only_first), ("second", comparison.only_second)):
        if keys:
            yield f"{len(keys)} tasks have valid episodes in the {name} only and are left out, such as {keys[0]}"


def _by_task(evaluation: Evaluation) -> dict[str, Trajectory]:
    return {trajectory.task_key: trajectory for trajectory in reversed(evaluation.valid)}


def _mean(comparison: Comparison, place: int) -> float:
    return sum(pair[place] for pair in comparison.values.values()) / len(comparison.values)


def _p_value(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1g}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else line[:39] + "…"
