"""Models that a run writes: the one that it trained, and the one below an adapter where that is nowhere else."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..errors import DivergenceError
from ..learning import load_policy, save_policy
from ..learning.lora import is_adapter_folder
from .config import RunConfig
from .parts import RunParts


def save_model(parts: RunParts, folder: Path, *, base: str = "") -> None:
    """Model and tokenizer in the form that `from_pretrained` loads; of a policy with an adapter, that alone.

    Args:
        parts: of the run.
        folder: where to.
        base: folder or hub id of the model that an adapter belongs on.
    """
    save_policy(parts.policy.module, folder, base=base)
    backend = getattr(parts.tokenizer, "backend", None)
    if backend is not None:
        backend.save_pretrained(folder)


def settle_base(config: RunConfig, parts: RunParts, folder: Path, *, is_new: bool) -> str:
    """The folder or hub id of the model that the run's adapter belongs on, which the policy is from here on.

    A model that was made from nothing, trained by the cold start or merged is nowhere else. It is written to the folder
    `base` of the run, and read from there where the run goes on.
    """
    path, base = config.model.path, folder / "base"
    if path and config.cold_start is None and not is_adapter_folder(path):
        return str(Path(path).resolve()) if Path(path).is_dir() else path
    if is_new:
        shutil.rmtree(base, ignore_errors=True)
        save_model(parts, base)
    else:
        parts.policy.module.load_state_dict(load_policy(base).module.state_dict())
    return str(base.resolve())


def leave_good_model(
    parts: RunParts, folder: Path, checkpoint: Mapping[str, Any] | None, error: Exception, *, base: str
) -> NoReturn:
    """Write the model of the best checkpoint, and give up: a later one may be of a policy that is destroyed already.

    Raises:
        DivergenceError: always; because of `error`.
    """
    assert checkpoint is not None  # that of step 0, at least
    # Not strictly: a policy with an adapter is saved without what lies below it.
    parts.policy.module.load_state_dict(checkpoint["learner"]["model"], strict=False)
    save_model(parts, folder / "model", base=base)
    raise DivergenceError(
        f"{error} The model of step {checkpoint['step']}, the best on held-out tasks, is in {folder / 'model'}. "
        f"Begin a new run with it: model.path={folder / 'model'}"
    ) from error
