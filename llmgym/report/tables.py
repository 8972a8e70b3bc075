"""Tables of the report's page, as markup."""

import re
from collections.abc import Sequence
from html import escape

from ..evaluation import Evaluation
from .data import Problem, RunData
from .figures import FIGURES, num_tasks, percent

_MAX_PROBLEMS = 50
_HEAD = '<thead><tr><td></td><th scope="col">before</th><th scope="col">after</th></tr></thead>'


def text(value: object) -> str:
    """`value` as HTML text: no markup, nothing that HTML or UTF-8 cannot hold."""
    shown = str(value).encode("utf-8", "replace").decode("utf-8")
    return escape(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "\ufffd", shown))


def result_table(run: RunData) -> str:
    """The table of held-out figures before and after."""
    if not run.after:
        return "<p>No held-out episodes are stored with this run.</p>"
    bodies = []
    for decoding, after in run.after.items():
        before = run.before.get(decoding)
        rows = [f'<tr><th colspan="3" scope="colgroup">{text(decoding.capitalize())}</th></tr>']
        for name, figure in FIGURES.items():
            cells = [figure(evaluation) if evaluation else "?" for evaluation in (before, after)]
            rows.append(_row(name, cells))
        bodies.append(f"<tbody>{''.join(rows)}</tbody>")
    caption = f"{num_tasks(run.after):,} held-out tasks, with 95 % intervals"
    return f"<table><caption>{caption}</caption>{_HEAD}{''.join(bodies)}</table>"


def _row(name: str, cells: Sequence[str]) -> str:
    return f'<tr><th scope="row">{text(name)}</th>{"".join(f"<td>{text(cell)}</td>" for cell in cells)}</tr>'


def stop_reason_table(run: RunData) -> str:
    """How episodes stopped, before and after, as a table with bars."""
    if not run.after:
        return ""
    bodies = []
    for decoding, after in run.after.items():
        before = run.before.get(decoding)
        columns = [_stop_shares(evaluation) if evaluation else {} for evaluation in (before, after)]
        rows = [f'<tr><th colspan="3" scope="colgroup">{text(decoding.capitalize())}</th></tr>']
        for reason in sorted({reason for shares in columns for reason in shares}):
            cells = "".join(_bar(shares.get(reason, 0.0)) for shares in columns)
            rows.append(f'<tr><th scope="row">{text(reason.replace("_", " "))}</th>{cells}</tr>')
        bodies.append(f"<tbody>{''.join(rows)}</tbody>")
    return f"<table><caption>Why valid episodes stopped</caption>{_HEAD}{''.join(bodies)}</table>"


def _stop_shares(evaluation: Evaluation) -> dict[str, float]:
    return {reason: count / len(evaluation.valid) for reason, count in evaluation.summary()["stop_reasons"].items()}


def _bar(share: float) -> str:
    return f'<td><span class="bar"><span style="width:{100 * share:.1f}%"></span></span> {percent(share)}</td>'


def problem_table(found: Sequence[Problem]) -> str:
    if not found:
        return "<p>None: every episode and every score was valid, and every gradient finite.</p>"
    rows = "".join(_row(problem.where, [problem.what]) for problem in found[:_MAX_PROBLEMS])
    more = f"<p>and {len(found) - _MAX_PROBLEMS} more.</p>" if len(found) > _MAX_PROBLEMS else ""
    return f'<div class="scroll"><table><caption>{len(found)} in all</caption><tbody>{rows}</tbody></table></div>{more}'
