"""Tables of the report's page, as markup."""

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from ..evaluation import Estimate, Evaluation
from .data import Problem, Rows, RunData
from .figures import FIGURES, percent, share_with_interval

_MAX_PROBLEMS = 50
_HEAD = '<thead><tr><td></td><th scope="col">before</th><th scope="col">after</th></tr></thead>'


def text(value: object) -> str:
    """`value` as HTML text: no markup, nothing that HTML or UTF-8 cannot hold."""
    shown = str(value).encode("utf-8", "replace").decode("utf-8")
    return escape(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "\ufffd", shown))


def result_table(run: RunData) -> str:
    """Tables of held-out figures before and after, one for each decoding."""
    if not run.after:
        return "<p>No held-out episodes are stored with this run.</p>"
    return "".join(
        _before_and_after(decoding, [_row(name, _cells(run, decoding, figure)) for name, figure in FIGURES.items()])
        for decoding in run.after
    )


def _cells(run: RunData, decoding: str, figure: Callable[[Evaluation], str]) -> list[str]:
    return [figure(at[decoding]) if decoding in at else "?" for at in (run.before, run.after)]


def _before_and_after(decoding: str, rows: Sequence[str]) -> str:
    """A table that may be wider than the page, and then scrolls by itself."""
    body = f"<tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table><caption>{text(decoding.capitalize())}</caption>{_HEAD}{body}</table></div>'


def environment_table(run: RunData) -> str:
    """Held-out success in each environment before and after, where a run has several."""
    if len(run.config.environments) < 2:
        return ""
    found = []
    evaluated = [*run.rows("evaluation"), *run.rows("best")]
    for decoding in dict.fromkeys(row["decoding"] for row in evaluated):
        measured = [row for row in evaluated if row["decoding"] == decoding]
        rows = [
            _row(env.label, [_success(measured[index], env.label) for index in (0, -1)])
            for env in run.config.environments
        ]
        found.append(_before_and_after(decoding, rows))
    tables = f'<div class="pair">{"".join(found)}</div>'
    return f"<h3>Success in each environment</h3>{tables}"


def _success(row: Mapping[str, Any], env: str) -> str:
    value, low, high = (row.get(f"env/{env}/{name}") for name in ("success", "success_low", "success_high"))
    if value is None or low is None or high is None:
        return "?"
    return share_with_interval(Estimate(value, low, high))


def _row(name: str, cells: Sequence[str]) -> str:
    return f'<tr><th scope="row">{text(name)}</th>{"".join(f"<td>{text(cell)}</td>" for cell in cells)}</tr>'


def stop_reason_table(run: RunData) -> str:
    """How valid episodes stopped, before and after, as tables with bars."""
    found = []
    for decoding, after in run.after.items():
        before = run.before.get(decoding)
        columns = [_stop_shares(evaluation) if evaluation else {} for evaluation in (before, after)]
        rows = []
        for reason in sorted({reason for shares in columns for reason in shares}):
            cells = "".join(_bar(shares.get(reason, 0.0)) for shares in columns)
            rows.append(f'<tr><th scope="row">{text(reason.replace("_", " "))}</th>{cells}</tr>')
        found.append(_before_and_after(decoding, rows))
    return "".join(found)


def _stop_shares(evaluation: Evaluation) -> dict[str, float]:
    return {reason: count / len(evaluation.valid) for reason, count in evaluation.summary()["stop_reasons"].items()}


def _bar(share: float) -> str:
    return f'<td><span class="bar"><span style="width:{100 * share:.1f}%"></span></span> {percent(share)}</td>'


def problem_table(found: Sequence[Problem]) -> str:
    if not found:
        return "<p>None: every episode and score was valid, every gradient finite, and nothing was lost.</p>"
    rows = "".join(_row(problem.where, [problem.what]) for problem in found[:_MAX_PROBLEMS])
    more = f"<p>and {len(found) - _MAX_PROBLEMS} more.</p>" if len(found) > _MAX_PROBLEMS else ""
    return f'<div class="scroll"><table><caption>{len(found)} in all</caption><tbody>{rows}</tbody></table></div>{more}'


def alarm_list(alarms: Rows) -> str:
    """The alarms that a run gave, in order; nothing where it gave none."""
    if not alarms:
        return ""
    items = "".join(
        f"<li><b>{text(alarm.get('name', 'alarm')).replace('_', ' ').capitalize()}</b> "
        f'<span class="meta">step {text(alarm["step"])}</span><p>{text(alarm.get("text", ""))}</p></li>'
        for alarm in alarms
    )
    heading = f'<h2 id="alarms-title">{"An alarm" if len(alarms) == 1 else f"{len(alarms)} alarms"}</h2>'
    return f'<section id="alarms" aria-labelledby="alarms-title">{heading}<ol class="alarms">{items}</ol></section>'
