"""`llmgym check`: whether an environment keeps its promises."""

from argparse import Namespace
from dataclasses import asdict

from ..episode.check_env import CheckReport, examine_env
from ..episode.check_rules import RULES
from .shared import DONE, FOUND, Commands, add_command, add_env, add_json, console, env_kwargs, print_json, progress


def add_check(commands: Commands) -> None:
    """Add the command `check`."""
    parser = add_command(
        commands,
        "check",
        summary="check an environment: seeds, tokens, leaks, rewards, solutions",
        about=(
            "Play an environment and see whether it keeps its promises: seeds repeat, all views agree to the token, "
            "the answer does not leak, reference turns earn the full reward and cheap tricks do not, and more. "
            "Ends with 1 where it finds something."
        ),
        examples="""
        llmgym check llmgym/Calculator-v0
        llmgym check llmgym/Math-v0 families=arithmetic --tasks 20
        llmgym check my_package:my/Sort-v0 --skip pickling
        """,
    )
    add_env(parser)
    parser.add_argument("--tasks", type=int, default=5, metavar="N", help="tasks to try (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: %(default)s)")
    parser.add_argument(
        "--deadline", type=float, default=60.0, metavar="S", help="seconds for an answer (default: %(default)s)"
    )
    parser.add_argument(
        "--skip", action="append", default=[], metavar="RULE", help=f"leave a rule out; there are: {', '.join(RULES)}"
    )
    add_json(parser)
    parser.set_defaults(run=_check)


def _check(options: Namespace) -> int:
    with progress(options).phase("checking", len(RULES) - len(set(options.skip) & RULES.keys())) as phase:
        report = examine_env(
            options.env,
            num_tasks=options.tasks,
            seed=options.seed,
            deadline_s=options.deadline,
            skip=options.skip,
            make_kwargs=env_kwargs(options),
            on_rule=phase.advance,
        )
    if options.json:
        print_json(
            {
                **{name: getattr(report, name) for name in ("env", "num_tasks", "num_episodes", "passed", "notes")},
                "problems": [{"rule": rule, **asdict(problem)} for rule, problem in report.problems],
            }
        )
    else:
        _print(report)
    return FOUND if report.problems else DONE


def _print(report: CheckReport) -> None:
    out = console()

    def line(style: str, mark: str, text: str) -> None:
        out.print(f"[{style}]{mark}[/] ", end="")
        out.print(text, markup=False, soft_wrap=True)

    out.print(f"{report.env}: {report.num_episodes} episodes of {report.num_tasks} tasks", soft_wrap=True)
    for rule in report.passed:
        line("green", "holds      ", rule)
    for note in report.notes:
        line("yellow", "not checked", note)
    for rule, problem in report.problems:
        line("red", "broken     ", f"{rule}: {problem.given}")
        out.print(f"              expected: {problem.expected}", markup=False, soft_wrap=True)
        out.print(f"              to mend:  {problem.mend}", markup=False, soft_wrap=True)
