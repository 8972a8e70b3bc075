"""What runs inside vLLM's worker process: weights are read from memory that it shares with the learner's process.

vLLM's own back ends of the weight transfer need CUDA. This one needs nothing, and is registered by the entry point
`llmgym` of the group `vllm.general_plugins`, which vLLM loads in each of its processes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

NAME = "llmgym"
"""Of the back end, in `WeightTransferConfig`."""


def register() -> None:
    """Make the back end known to vLLM. vLLM may call this more than once in a process."""
    if NAME not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(NAME, MemoryTransfer)


@dataclass
class MemoryInit(WeightTransferInitInfo):
    """Where the shared memory is."""

    path: str
    """Of a file that this process can map; it need not stay."""
    num_bytes: int
    """Its size."""


@dataclass
class MemoryUpdate(WeightTransferUpdateInfo):
    """Where weights are in the shared memory."""

    entries: list[tuple[str, str, list[int], int]]
    """Name, data type, shape and first byte of each."""


class MemoryTransfer(WeightTransferEngine[MemoryInit, MemoryUpdate]):
    """Loads weights layer by layer, as vLLM's own back ends do.

    A plain `model.load_weights` would fail on a CPU, where the matrices of linear layers are repacked when the model is
    loaded and the parameters themselves are emptied.
    """

    init_info_cls = MemoryInit
    update_info_cls = MemoryUpdate

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._memory_N: Tensor | None = None

    def init_transfer_engine(self, init_info: MemoryInit) -> None:
        """Map the shared memory. The mapping outlives the file's name."""
        self._memory_N = torch.from_file(init_info.path, shared=True, size=init_info.num_bytes, dtype=torch.uint8)

    def start_weight_update(self) -> None:
        """Let each layer wait for its weights."""
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: MemoryUpdate) -> None:
        """Load the weights; layers that have all of theirs are repacked at once, and the others at the end."""
        self.model.load_weights(
            (name, self._view(dtype, shape, start)) for name, dtype, shape, start in update_info.entries
        )

    def _view(self, dtype: str, shape: list[int], start: int) -> Tensor:
        if self._memory_N is None:
            raise RuntimeError("init_weight_transfer_engine must be called before update_weights.")
        element = getattr(torch, dtype)
        num_bytes = torch.Size(shape).numel() * element.itemsize
        return self._memory_N[start : start + num_bytes].view(element).view(shape)

    def finish_weight_update(self) -> None:
        """Repack the layers that got fewer weights than they have room for, such as a padded vocabulary."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Give the shared memory back."""
        self._memory_N = None
