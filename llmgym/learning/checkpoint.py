"""Checkpoints on disk: written completely or not at all, and verified when read."""

import hashlib
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, ConfigError, OutputFolderError
from ..files import UNFINISHED, replace_json, sync

_MANIFEST = "manifest.json"
_FORMAT = 1


def save_checkpoint(folder: str | Path, state: Mapping[str, Any]) -> None:
    """Write `state` into `folder`, replacing the checkpoint that is there.

    The state goes into a file named after its content; then the manifest that names it is replaced in one atomic
    step. A crash at any time leaves the former checkpoint, or the new one, whole.

    Args:
        folder: made if need be.
        state: nested mappings, lists and tuples of tensors, numbers, texts, bytes and None.

    Raises:
        ConfigError: `state` holds something else.
        OutputFolderError: `folder` holds files that are no checkpoint.
    """
    folder = Path(folder)
    _require_plain(state, "state")
    folder.mkdir(parents=True, exist_ok=True)
    ours = ("state-", UNFINISHED, _MANIFEST)
    foreign = [path.name for path in folder.iterdir() if not path.name.startswith(ours)]
    if foreign:
        raise OutputFolderError(f"{folder} holds {foreign[0]!r}, so it is no checkpoint folder. Choose another one.")

    unfinished = folder / f"state-unfinished-{os.getpid()}.pt"
    torch.save(dict(state), unfinished)
    sync(unfinished)
    digest = _sha256(unfinished)
    name = f"state-{digest[:16]}.pt"
    num_bytes = unfinished.stat().st_size
    unfinished.replace(folder / name)

    manifest = {"format": _FORMAT, "file": name, "sha256": digest, "bytes": num_bytes}
    replace_json(folder / _MANIFEST, manifest)
    for path in folder.iterdir():
        if path.name not in (_MANIFEST, name):
            path.unlink()


def load_checkpoint(folder: str | Path) -> dict[str, Any]:
    """The state in `folder`, with all tensors on the CPU. Nothing in the file is executed.

    Raises:
        CheckpointError: there is no complete checkpoint, or it is damaged.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        path, expected = folder / manifest["file"], manifest["sha256"]
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} holds no complete checkpoint: {_MANIFEST} cannot be read ({error})."
        ) from error
    if version != _FORMAT:
        raise CheckpointError(f"{folder} has format {version}, but this version of llmgym reads format {_FORMAT}.")
    try:
        found = _sha256(path)
    except OSError as error:
        raise CheckpointError(f"{folder} is incomplete: {path.name} cannot be read ({error}).") from error
    if found != expected:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 is {found[:16]}..., but {_MANIFEST} says {expected[:16]}... "
            "Go back to an earlier checkpoint."
        )
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise CheckpointError(f"{path} was not written by `save_checkpoint`: {error}") from error
    return state


def _require_plain(value: Any, name: str) -> None:
    """A ConfigError names what could not be loaded again without running code."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _require_plain(entry, f"{name}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            _require_plain(entry, f"{name}[{index}]")
    elif value is not None and type(value) not in (int, float, bool, str, bytes) and not isinstance(value, Tensor):
        raise ConfigError(
            f"{name} is of type {type(value).__name__}, but a checkpoint holds only mappings, lists and tuples of "
            "tensors, numbers, texts, bytes and None. Convert it."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
