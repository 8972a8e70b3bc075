"""What the report's page computes with: metrics by column, distributions, episodes; as text that no markup can end."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .data import Rows, RunData
from .episodes import Embedded
from .glossary import meaning

_MAX_ROWS = 1000
"""Of one phase; more are thinned out evenly."""


def page_data(run: RunData, embedded: Embedded) -> dict[str, Any]:
    """Everything that the page's script needs."""
    samples_at = {0: 0} | {row["step"]: row.get("num_samples") for row in run.rows("train")}
    evaluation = [{"num_samples": samples_at.get(row["step"]), **row} for row in run.rows("evaluation")]
    phases = {"cold_start": run.rows("cold_start"), "train": run.rows("train")}
    for decoding in dict.fromkeys(row["decoding"] for row in evaluation):
        phases[f"evaluation, {decoding}"] = [row for row in evaluation if row["decoding"] == decoding]
    return {
        "metrics": {phase: _columns(rows) for phase, rows in phases.items() if rows},
        "meanings": {name: meaning(name) for rows in phases.values() for row in rows for name in row},
        "alarms": [_alarm(row, samples_at) for row in run.rows("alarm")],
        "lengths": _counts(run, lambda trajectory: trajectory.num_actions),
        "turns": _counts(run, lambda trajectory: len(trajectory.turns)),
        "tokens": {str(token): list(text) for token, text in embedded.texts.known().items()},
        "sources": embedded.sources,
        "episodes": embedded.episodes,
    }


def script_safe_json(values: Any) -> str:
    """JSON that may stand in a `<script>` element: ASCII, and without the characters that could end it.

    Numbers that JSON does not know (NaN, infinities) become null.
    """
    text = json.dumps(finite(values), separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def finite(value: Any) -> Any:
    """Plain values with null for numbers that JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(entry) for entry in value]
    return value


def _columns(rows: Rows) -> dict[str, Any]:
    """Numbers by name, null where a row has none; `every` tells which rows are here."""
    every = math.ceil(len(rows) / _MAX_ROWS)
    kept = [row for index, row in enumerate(rows) if index % every == 0 or index == len(rows) - 1]
    names = dict.fromkeys(name for row in kept for name, value in row.items() if _is_number(value))
    return {
        "every": every,
        "columns": {name: [_rounded(row.get(name)) for row in kept] for name in names},
    }


def _counts(run: RunData, measure: Any) -> dict[str, dict[str, list[list[int]]]]:
    """How many valid episodes have which value, by decoding and by "before" and "after"."""
    counts: dict[str, dict[str, list[list[int]]]] = {}
    for when, decoding, evaluation in run.evaluations():
        counted = sorted(Counter(measure(trajectory) for trajectory in evaluation.valid).items())
        counts.setdefault(decoding, {})[when] = [list(pair) for pair in counted]
    return counts


def _alarm(row: Mapping[str, Any], samples_at: Mapping[int, Any]) -> dict[str, Any]:
    """Where a mark stands and what it says."""
    name = str(row.get("name", "alarm")).replace("_", " ")
    return {"step": row["step"], "num_samples": samples_at.get(row["step"]), "name": name}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _rounded(value: Any) -> float | int | None:
    if not _is_number(value):
        return None
    return float(f"{value:.5g}") if isinstance(value, float) else value
