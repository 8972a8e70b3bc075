"""A model of this process, written where vLLM can load it."""

import os
import shutil
import tempfile
import weakref
from typing import Any

from ..quiet import without_progress_bars


class ModelFolder:
    """A temporary folder, removed when it is told to, or with this process."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="llmgym-model-")
        self.remove = weakref.finalize(self, _remove, os.getpid(), self.path)


def _remove(owner: int, path: str) -> None:
    if os.getpid() == owner:  # and not a fork that ends
        shutil.rmtree(path, ignore_errors=True)


def module_in_folder(module: Any) -> ModelFolder:
    """The weights and the config of a transformers causal LM."""
    folder = ModelFolder()
    with without_progress_bars():
        module.save_pretrained(folder.path)
    return folder
