"""Training runs, from Python and from the command line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataNotFoundError
from ..registry import closest
from ..report import held_out_table, write_report
from ..settings import from_mapping
from ..training import RunConfig, RunProgress, RunResult, Trainer, load_config
from .shared import recipes


def recipe_path(name: str) -> Path:
    """The run file that `name` means: a path, or the name of a recipe that llmgym brings.

    Raises:
        ConfigError: it is neither.
    """
    if name.endswith(".toml") or "/" in name:
        return Path(name)
    known = recipes()
    if name not in known:
        raise ConfigError(f"{name!r} is neither a run file (*.toml) nor a recipe. {closest(name, known)}")
    return known[name]


def run_file(name: str, overrides: list[str], *, progress: RunProgress | None = None) -> RunResult:
    """Run a run file or recipe, with dotted overrides, and write its report."""
    return _run(load_config(recipe_path(name), overrides), progress)


def train(
    *,
    env: str | Sequence[str | Mapping[str, Any]],
    model: str | Path | Mapping[str, Any] = "",
    agent: str | Mapping[str, Any] = "grpo",
    sampler: str | Mapping[str, Any] = "torch",
    steps: int = 100,
    env_kwargs: Mapping[str, Any] | None = None,
    progress: RunProgress | None = None,
    **settings: Any,
) -> RunResult:
    """Train a policy and write its report; the same run as `llmgym train` makes from a file.

    Args:
        env: id of the environment; or several, by id or as mappings of the fields of `EnvConfig`, e.g.
            `{"id": "llmgym/Math-v0", "weight": 2, "kwargs": {"difficulty": 3}}`.
        model: folder or hub id of a causal language model; "" makes a tiny one from nothing; or a mapping of the fields
            of `ModelConfig`, e.g. `{"path": "my/model", "dtype": "bfloat16"}`.
        agent: name of a registered agent, or a mapping of its name and settings.
        sampler: name of a registered sampler, or a mapping of its name and settings.
        steps: batches to learn from.
        env_kwargs: further keywords for `gym.make`, where there is one environment.
        progress: where the run shows how it goes.
        settings: further fields of `RunConfig`, tables as mappings, e.g. `learner={"learning_rate": 1e-5}`.

    Raises:
        ConfigError: a setting is misspelt, of the wrong type or out of range.
        OutputFolderError: the output folder is not empty; nothing was written.
    """
    values = {
        **_environments(env, env_kwargs),
        "model": model if isinstance(model, Mapping) else {"path": str(model)},
        "agent": {"name": agent} if isinstance(agent, str) else agent,
        "sampler": sampler,
        "steps": steps,
        **settings,
    }
    return _run(from_mapping(RunConfig, values), progress)


def resume(folder: str | Path, *, progress: RunProgress | None = None) -> RunResult:
    """Go on with a run that was stopped or killed, and write its report; `llmgym train --resume` from Python.

    Raises:
        OutputFolderError: the run is finished.
        CheckpointError: its newest checkpoint is damaged, or of another run or version.
        DataNotFoundError: there is no run in `folder`.
    """
    path = Path(folder) / "config.toml"
    if not path.is_file():
        raise DataNotFoundError(f"{str(folder)!r} is no run folder: it has no config.toml. Name the folder of a run.")
    trainer = Trainer(load_config(path), progress=progress)
    return _with_report(trainer, trainer.resume(folder))


def _environments(env: str | Sequence[str | Mapping[str, Any]], env_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(env, str) or not isinstance(env, Sequence):  # what is neither is told to be no id
        return {"env": {"id": env, "kwargs": {} if env_kwargs is None else env_kwargs}}
    if env_kwargs is not None:
        raise ConfigError("env_kwargs belong to one environment, but several are given. Put kwargs into each mapping.")
    return {"envs": [{"id": each} if isinstance(each, str) else each for each in env]}


def _run(config: RunConfig, progress: RunProgress | None) -> RunResult:
    trainer = Trainer(config, progress=progress)
    return _with_report(trainer, trainer.run())


def _with_report(trainer: Trainer, result: RunResult) -> RunResult:
    if result.is_followed:
        return result
    if not result.is_complete:
        trainer.progress.line(f"stopped; go on with: llmgym train --resume {result.folder}")
        return result
    write_report(result)
    trainer.progress.console.print(held_out_table(result.before, result.after))
    trainer.progress.line(
        f"written to {result.folder}: report.html, model/, metrics.jsonl, curve.png, samples.txt, trajectories/"
    )
    return result
