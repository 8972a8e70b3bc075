"""`llmgym train`: a training run, from a file or a recipe."""

import json
from argparse import Namespace
from typing import Any

from ..errors import ConfigError
from .shared import DONE, Commands, add_command, add_json, print_json, progress, recipes


def add_train(commands: Commands) -> None:
    """Add the command `train`."""
    parser = add_command(
        commands,
        "train",
        summary="train a policy from a run file or a recipe",
        about=(
            "Train a policy, measure it on held-out tasks before and after, and write a run folder: report.html, the "
            "model, metrics, trajectories, and config.toml, which trains the same again."
        ),
        examples="""
        llmgym train demo
        llmgym train demo --seed 1 steps=20 learner.learning_rate=5e-4 agent.name=rloo
        llmgym train my_run.toml model.path=my/model --output runs/mine
        llmgym train --resume runs/mine
        """,
    )
    known = ", ".join(recipes())
    parser.add_argument("recipe", nargs="?", metavar="FILE|RECIPE", help=f"a run file (*.toml), or a recipe: {known}")
    parser.add_argument("overrides", nargs="*", metavar="name=value", help="settings to change, by dotted name")
    parser.add_argument("--seed", type=int, help="of everything random")
    parser.add_argument("--output", metavar="DIR", help="run folder, empty or new (default: the next under runs/)")
    parser.add_argument("--resume", metavar="DIR", help="go on with the run in this folder")
    add_json(parser)
    parser.set_defaults(run=_train, parser=parser)


def _train(options: Namespace) -> int:
    from .runs import resume, run_file

    overrides = list(options.overrides)
    if options.resume is not None and options.recipe is not None and "=" in options.recipe:
        overrides.insert(0, options.recipe)
    elif (options.recipe is None) == (options.resume is None):
        options.parser.error("name a run file or a recipe to begin with, or with --resume the folder of a run")
    if options.seed is not None:
        overrides.append(f"seed={options.seed}")
    if options.output is not None:
        overrides.append(f"output={json.dumps(options.output)}")
    if options.resume is None:
        result = run_file(options.recipe, overrides, progress=progress(options))
    elif overrides:
        raise ConfigError(f"A run goes on as it began, so {overrides[0]} cannot be changed. Begin a new run.")
    else:
        result = resume(options.resume, progress=progress(options))
    if options.json and not result.is_followed:
        figures: dict[str, Any] = {"folder": str(result.folder), "is_complete": result.is_complete}
        for name, evaluations in (("before", result.before), ("after", result.after)):
            figures[name] = {decoding: evaluation.summary() for decoding, evaluation in evaluations.items()}
        print_json(figures)
    return DONE  # also where it was stopped: it was saved, as asked, and can go on
