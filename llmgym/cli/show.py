"""`llmgym show`: what a run came to, from its folder."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from ..errors import DataError
from .shared import DONE, Commands, add_command, add_json, console, print_json, table

_RECORD = "run.json"
_COURSES = ("reward", "success", "entropy", "grad_norm", "mean_action_tokens", "seconds")


def add_show(commands: Commands) -> None:
    """Add the command `show`."""
    parser = add_command(
        commands,
        "show",
        summary="print what a run came to, and write its report.html anew",
        about="Print the figures of a run and write its report.html anew. A run that goes on is shown as far as it is.",
        examples="""
        llmgym show runs/calculator
        llmgym show runs/calculator --json
        """,
    )
    parser.add_argument("folder", metavar="RUN", help="the folder of a run")
    add_json(parser)
    parser.set_defaults(run=_show)


def _show(options: Namespace) -> int:
    """Print a run's table and figures, and write its report anew.

    Raises:
        DataNotFoundError: there is no such folder, or it is none of a run.
    """
    from ..report import course_table, held_out_table, read_run, repeat_command, write_html

    if _goes_on(Path(options.folder)):
        return _show_unfinished(options)
    run = read_run(options.folder)
    report = write_html(run)
    if options.json:
        train = run.rows("train")
        figures = {
            "folder": str(run.folder),
            "report": str(report),
            "env": run.config.env_label,
            "agent": run.config.agent["name"],
            "seed": run.config.seed,
            "seconds": run.record.seconds,
            "before": {decoding: evaluation.summary() for decoding, evaluation in run.before.items()},
            "after": {decoding: evaluation.summary() for decoding, evaluation in run.after.items()},
            "last_step": train[-1] if train else None,
        }
        print_json(figures)
        return DONE
    out = console()
    out.print(
        f"{run.config.env_label}, agent {run.config.agent['name']}, {run.record.num_parameters:,} parameters, "
        f"seed {run.config.seed}, begun {run.record.started}, {run.record.seconds:.0f} s on {run.record.device}",
        markup=False,
        soft_wrap=True,
    )
    if run.after:
        out.print(held_out_table(run.before, run.after))
    if (courses := course_table(run)) is not None:
        out.print(courses)
    out.print(f"again: {repeat_command(run)}\nreport: {report}", markup=False, soft_wrap=True)
    return DONE


def _goes_on(folder: Path) -> bool:
    """A run that is under way, or was interrupted: its record is the last file that it writes."""
    return (
        all((folder / name).is_file() for name in ("config.toml", "metrics.jsonl")) and not (folder / _RECORD).exists()
    )


def _show_unfinished(options: Namespace) -> int:
    from ..report.summary import sparkline
    from ..training import load_config

    folder = Path(options.folder)
    config = load_config(folder / "config.toml")
    rows = _rows_so_far(folder / "metrics.jsonl")
    train = [row for row in rows if row.get("phase") == "train"]
    evaluations = [row for row in rows if row.get("phase") == "evaluation" and row.get("success") is not None]
    step = train[-1]["step"] if train else 0
    if options.json:
        figures = {"folder": str(folder), "env": config.env_label, "agent": config.agent["name"], "seed": config.seed}
        last = {"last_step": train[-1] if train else None}
        print_json({**figures, "is_finished": False, "steps": config.steps, "evaluations": evaluations, **last})
        return DONE
    out = console()
    out.print(f"{config.env_label}, agent {config.agent['name']}, seed {config.seed}", markup=False, soft_wrap=True)
    out.print(f"step {step} of {config.steps}; not finished: under way, or interrupted", soft_wrap=True)
    held_out = table("held-out success", "step", "95 % interval")
    for row in evaluations:
        interval = f"[{100 * row['success_low']:.1f}, {100 * row['success_high']:.1f}]"
        held_out.add_row(f"{100 * row['success']:.1f} % {row['decoding']}", str(row["step"]), interval)
    courses = table("training metric", "first", "course", "last")
    for name in _COURSES:
        values = [float(row[name]) for row in train if isinstance(row.get(name), (int, float))]
        if values:
            courses.add_row(name, f"{values[0]:.3g}", sparkline(values, width=30), f"{values[-1]:.3g}")
    for shown in (held_out, courses):
        if shown.row_count:
            out.print(shown)
    return DONE


def _rows_so_far(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics that are whole; the last may be in the middle of being written."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}. Remove the broken line.") from error
