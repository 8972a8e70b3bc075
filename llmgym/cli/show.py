"""`llmgym show`: what a run came to, from its folder."""

import json
from argparse import Namespace

from rich.console import Console

from ..report import course_table, held_out_table, read_run, repeat_command, write_html
from ..report.page_data import finite


def show(options: Namespace) -> int:
    """Print a run's table and figures, and write its report anew.

    Raises:
        DataNotFoundError: there is no such folder, it is none of a run, or the run has not ended.
    """
    run = read_run(options.folder)
    report = write_html(run)
    if options.json:
        train = run.rows("train")
        figures = {
            "folder": str(run.folder),
            "report": str(report),
            "env": run.config.env.id,
            "agent": run.config.agent["name"],
            "seed": run.config.seed,
            "seconds": run.record.seconds,
            "before": {decoding: evaluation.summary() for decoding, evaluation in run.before.items()},
            "after": {decoding: evaluation.summary() for decoding, evaluation in run.after.items()},
            "last_step": train[-1] if train else None,
        }
        print(json.dumps(finite(figures)))
        return 0
    console = Console(highlight=False)
    console.print(
        f"{run.config.env.id}, agent {run.config.agent['name']}, {run.record.num_parameters:,} parameters, "
        f"seed {run.config.seed}, begun {run.record.started}, {run.record.seconds:.0f} s on {run.record.device}",
        markup=False,
        soft_wrap=True,
    )
    if run.after:
        console.print(held_out_table(run.before, run.after))
    if (courses := course_table(run)) is not None:
        console.print(courses)
    console.print(f"again: {repeat_command(run)}\nreport: {report}", markup=False, soft_wrap=True)
    return 0
