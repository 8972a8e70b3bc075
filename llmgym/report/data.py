"""A finished run, read from its folder."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..episode import Trajectory
from ..errors import DataError, DataNotFoundError
from ..evaluation import Evaluation
from ..messages import Tokenizer, load_tokenizer
from ..rollout import load_trajectories
from ..training import RunConfig, parse_config
from ..training.record import RunRecord, load_held_out
from .glossary import GLOSSARY, meaning

Rows = list[dict[str, Any]]


@dataclass(frozen=True, eq=False, kw_only=True)
class RunData:
    """What a run folder holds, but for the stored batches, which are read one by one."""

    folder: Path
    config: RunConfig
    config_text: str
    """As the run wrote it."""
    record: RunRecord
    metrics: Mapping[str, Rows]
    """Lines of `metrics.jsonl` by phase: "cold_start", "train", "evaluation", ..., see docs/concepts/metrics.md."""
    before: Mapping[str, Evaluation]
    """By decoding; empty where no held-out episodes are stored."""
    after: Mapping[str, Evaluation]
    tokenizer: Tokenizer

    def batches(self) -> list[tuple[int, Path]]:
        """Step and file of each stored batch, in order."""
        found = ((re.fullmatch(r"step-(\d+)\.jsonl\.gz", path.name), path) for path in self._batch_files())
        return sorted((int(match[1]), path) for match, path in found if match)

    def rows(self, phase: str) -> Rows:
        """The metrics of a phase; none where the run had no such phase."""
        return self.metrics.get(phase, [])

    def evaluations(self) -> Iterator[tuple[str, str, Evaluation]]:
        """("after" or "before", decoding, evaluation)."""
        for when, evaluations in (("after", self.after), ("before", self.before)):
            for decoding, evaluation in evaluations.items():
                yield when, decoding, evaluation

    def is_success(self, trajectory: Trajectory) -> bool:
        """It earned all there is."""
        return trajectory.is_valid and trajectory.reward >= self.record.full_reward

    def _batch_files(self) -> Iterator[Path]:
        return (self.folder / "trajectories").glob("step-*.jsonl.gz")


def read_run(folder: str | Path, *, tokenizer: Tokenizer | None = None) -> RunData:
    """The run in a folder.

    Args:
        folder: that `llmgym train` wrote.
        tokenizer: that of the run; None loads the one in `model/`.

    Raises:
        DataNotFoundError: there is no such folder, it is none of a run, or the run has not ended.
        DataError: a file in it is damaged.
        TokenizerError: there is no tokenizer in `model/`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataNotFoundError(f"There is no folder {str(folder)!r}. Name one that `llmgym train` wrote.")
    for name in ("config.toml", "metrics.jsonl"):
        if not (folder / name).is_file():
            raise DataNotFoundError(
                f"{str(folder)!r} has no {name}, so it is not the folder of a run. Name one that `llmgym train` wrote."
            )
    record = RunRecord.read(folder)
    text = (folder / "config.toml").read_text(encoding="utf-8")
    return RunData(
        folder=folder,
        config=parse_config(text, source=str(folder / "config.toml")),
        config_text=text,
        record=record,
        metrics=_read_metrics(folder / "metrics.jsonl"),
        before=load_held_out(folder, "before", record.full_reward),
        after=load_held_out(folder, "after", record.full_reward),
        tokenizer=tokenizer or load_tokenizer(folder / "model"),
    )


def _read_metrics(path: Path) -> dict[str, Rows]:
    phases: dict[str, Rows] = defaultdict(list)
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                phases[row["phase"]].append(row)
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}, line {number}: not a line of metrics, {error!r}. Remove the line.") from error
    return dict(phases)


@dataclass(frozen=True)
class Problem:
    """Something that went wrong, and was not the policy's fault alone."""

    where: str
    what: str


def problems(run: RunData) -> Iterator[Problem]:
    """Invalid episodes and scores, environments left out, what was lost, and gradients that were not finite."""
    for when, decoding, evaluation in run.evaluations():
        yield from _invalid(f"held-out {when}, {decoding}", evaluation.trajectories)
    for row in run.rows("quarantine"):
        yield Problem(
            f"training step {row['step']}", f"{row.get('env')} is left out from here on: {row.get('problem')}"
        )
    stored = dict(run.batches())
    for row in run.rows("train"):
        step, num_invalid = row["step"], row.get("num_invalid", 0)
        if num_invalid:
            yield Problem(f"training step {step}", f"{num_invalid:g} invalid episodes were left out")
        if num_invalid and step in stored:
            yield from _invalid(f"training step {step}", load_trajectories(stored[step]))
        if row.get("num_non_finite_steps"):
            yield Problem(f"training step {step}", "a gradient was not finite, so the optimizer made no step")
    yield from _losses(run.rows("train"))


def _losses(rows: Rows) -> Iterator[Problem]:
    """One for each kind of loss that was made good or left out, with how often, over all steps."""
    for name in (*GLOSSARY["losses"], "num_dropped_stale"):
        counts = {row["step"]: row[name] for row in rows if row.get(name)}
        if counts:
            first, last = min(counts), max(counts)
            where = f"training step {first}" if first == last else f"training steps {first} to {last}"
            yield Problem(where, f"{meaning(name).replace('`', '').removesuffix('.')}: {sum(counts.values()):g}")


def _invalid(where: str, trajectories: Iterable[Trajectory]) -> Iterator[Problem]:
    for trajectory in trajectories:
        reasons = [turn.score.reason for turn in trajectory.turns if turn.score and not turn.score.is_valid]
        if reasons or not trajectory.is_valid:
            shown = "; ".join(filter(None, reasons)) or "our machinery failed"
            yield Problem(where, f"task {trajectory.task_key}, {trajectory.stop_reason}: {shown}")
