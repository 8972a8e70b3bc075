"""`llmgym rescore`: what stored episodes are worth to today's verifier."""

from argparse import Namespace
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..episode.register import make_token_env
from ..errors import ConfigError
from ..evaluation.stored import RESCORED, StoredEpisodes, all_stored_episodes
from ..progress import RunProgress
from ..rollout import Rescored, Verdict, load_trajectories, rescore, save_trajectories
from .shared import DONE, FOUND, Commands, add_command, add_json, console, print_json, progress, table

_MOST_SHOWN = 20


def add_rescore(commands: Commands) -> None:
    """Add the command `rescore`."""
    parser = add_command(
        commands,
        "rescore",
        summary="score stored episodes again, with the environment and verifier of now",
        about=(
            "Play stored episodes again, token by token, in the environment of now, and report which rewards differ. "
            "Where one does, a new file is written beside the old one, which stays. Episodes of several turns whose "
            "world no longer answers as it did are reported as a mismatch and keep their rewards. "
            "Ends with 1 where anything differs."
        ),
        examples="""
        llmgym rescore evals/a
        llmgym rescore runs/calculator/held_out/after-greedy.jsonl.gz --json
        """,
    )
    parser.add_argument("path", metavar="FOLDER|FILE", help="of a run or an evaluation, or a file of episodes in one")
    parser.add_argument(
        "--tokenizer", metavar="DIR", help="that the episodes were played with (default: that of the model that did)"
    )
    add_json(parser)
    parser.set_defaults(run=_rescore)


def _rescore(options: Namespace) -> int:
    files = all_stored_episodes(options.path)
    shown = progress(options)
    results = {stored.path: _rescored(stored, options.tokenizer, shown) for stored in files}
    written = {path: _write(path, of_file) for path, of_file in results.items()}
    if options.json:
        print_json({"files": [_file_json(path, of_file, written[path]) for path, of_file in results.items()]})
    else:
        _print(results, written)
    is_same = all(result.verdict is Verdict.SAME for of_file in results.values() for result in of_file)
    return DONE if is_same else FOUND


def _rescored(stored: StoredEpisodes, tokenizer: str | None, shown: RunProgress) -> list[Rescored]:
    if " + " in stored.env:
        raise ConfigError(
            f"{stored.path} is of several environments ({stored.env}); only those of one can be rescored."
        )
    named = tokenizer or stored.model
    kwargs = {**stored.env_kwargs, **({"tokenizer": named} if named else {})}
    env = make_token_env(stored.env, **kwargs)
    try:
        source = env.message_env.tasks(stored.split)
        trajectories = list(load_trajectories(stored.path))
        results = []
        with shown.phase(stored.path.name, len(trajectories)) as phase:
            for trajectory in trajectories:
                results.append(rescore(env, source, trajectory))
                phase.advance()
        return results
    finally:
        env.close()


def _write(path: Path, results: list[Rescored]) -> Path | None:
    """The episodes with their new scores, in a file that was not there; none where all are as they were."""
    if all(result.verdict is not Verdict.CHANGED for result in results):
        return None
    name, dot, suffixes = path.name.partition(".jsonl")
    number = 1
    while (new := path.with_name(f"{name}{RESCORED}-{number}{dot}{suffixes}")).exists():
        number += 1
    save_trajectories(new, (result.after for result in results))
    return new


def _print(results: Mapping[Path, list[Rescored]], written: Mapping[Path, Path | None]) -> None:
    out = console()
    shown = table("episodes of", "number", *Verdict)
    for path, of_file in results.items():
        counts = Counter(result.verdict for result in of_file)
        shown.add_row(str(path), str(len(of_file)), *(str(counts[verdict]) for verdict in Verdict))
    out.print(shown)
    for path, of_file in results.items():
        differing = [result for result in of_file if result.verdict is not Verdict.SAME]
        for result in differing[:_MOST_SHOWN]:
            out.print(_line(result), markup=False, soft_wrap=True)
        if len(differing) > _MOST_SHOWN:
            out.print(
                f"and {len(differing) - _MOST_SHOWN} more in {path}; --json lists all", markup=False, soft_wrap=True
            )
        if written[path] is not None:
            out.print(f"written to {written[path]}", markup=False, soft_wrap=True)


def _line(result: Rescored) -> str:
    before, after = result.before, result.after
    place = f"task {before.task_key}, sample {before.sample_index}"
    if result.verdict is not Verdict.CHANGED:
        return f"{result.verdict}: {place}: {result.note}"
    rewards = [f"{t.reward:g}" if t.is_valid else "not valid" for t in (before, after)]
    reason = result.note or _reason(result)
    return f"changed: {place}: {' -> '.join(rewards)}" + (f", {reason}" if reason else "")


def _reason(result: Rescored) -> str:
    scores = [turn.score for turn in result.after.turns if turn.score is not None]
    return scores[-1].reason if scores else ""


def _file_json(path: Path, results: list[Rescored], written: Path | None) -> dict[str, Any]:
    counts = Counter(result.verdict for result in results)
    return {
        "path": str(path),
        "written": str(written) if written else None,
        "num_episodes": len(results),
        "verdicts": {str(verdict): counts[verdict] for verdict in Verdict},
        "differing": [
            {
                "verdict": str(result.verdict),
                "task": result.before.task_key,
                "sample": result.before.sample_index,
                "reward_before": result.before.reward if result.before.is_valid else None,
                "reward_after": result.after.reward if result.after.is_valid else None,
                "reason": result.note or _reason(result),
            }
            for result in results
            if result.verdict is not Verdict.SAME
        ],
    }
