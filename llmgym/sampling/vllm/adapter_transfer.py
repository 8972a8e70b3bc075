"""LoRA adapters, which vLLM loads from a folder in the form that peft writes."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ...errors import ConfigError, SamplerError
from ..sampler import WeightSource
from .engines import Adapter, Engine

_MEMORY = Path("/dev/shm")
"""Where a file is memory."""


class AdapterTransfer:
    """Puts a newer adapter in the place of the older one; the weights below it never change.

    A copy of the adapter stays here, for engines that are started anew.
    """

    adapter = Adapter(name="policy", number=1, path="/")
    """What requests name. vLLM looks at its number only, once it is loaded."""

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._config: dict[str, Any] = {}
        self.num_bytes = 0

    async def prepare(self, source: WeightSource) -> None:
        """Copy the adapter.

        Raises:
            ConfigError: it has parts that vLLM cannot run.
            SamplerError: the source does not say what adapter it is of.
        """
        config: Mapping[str, Any] | None = getattr(source, "adapter_config", None)
        if config is None:
            raise SamplerError(
                "The weight source is of an adapter, but has no `adapter_config`. Give it peft's, as a mapping."
            )
        self._config = dict(config)
        self._tensors = {_name_in_file(name): tensor.detach().cpu().clone() for name, tensor in source}
        self.num_bytes = sum(tensor.nbytes for tensor in self._tensors.values())

    async def deliver(self, engine: Engine, *, version: int) -> None:
        """Load it. The folder is removed at once: vLLM has read it by then, or never will."""
        with tempfile.TemporaryDirectory(prefix="llmgym-adapter-", dir=_memory_folder(self.num_bytes)) as folder:
            await asyncio.to_thread(self._write, Path(folder))
            await engine.add_adapter(Adapter(self.adapter.name, self.adapter.number, folder))
        await engine.set_weight_version(version)

    def _write(self, folder: Path) -> None:
        folder.joinpath("adapter_config.json").write_text(json.dumps(self._config, default=sorted), encoding="utf-8")
        save_file(self._tensors, folder / "adapter_model.safetensors")

    def close(self) -> None:
        """Forget the adapter."""
        self._tensors.clear()


def _name_in_file(name: str) -> str:
    """A parameter's name as peft writes it to a file: without the name of the adapter.

    Raises:
        ConfigError: it is not of an adapter's pair of matrices.
    """
    stem, kind, rest = next((name.rpartition(kind) for kind in (".lora_A.", ".lora_B.") if kind in name), ("", "", ""))
    if not kind or rest.rpartition(".")[2] != "weight":
        raise ConfigError(
            f"The adapter has a weight {name!r}, but vLLM runs pairs of lora_A and lora_B only. "
            "Leave modules_to_save, bias and DoRA out of the LoRA settings, or use the torch sampler."
        )
    return f"{stem}{kind}weight"


def _memory_folder(num_bytes: int) -> str | None:
    """A folder whose files are memory, where there is one with room; None: among the temporary files."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < 2 * num_bytes:
        return None
    return str(_MEMORY)
