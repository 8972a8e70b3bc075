"""`llmgym show`: what a run came to, from its folder."""

from argparse import Namespace

from .shared import Commands, add_command, add_json, console, print_json


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
        return 0
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
    return 0
