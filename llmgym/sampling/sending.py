"""Numbers from here to where a model is."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def sent(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of `values` on the device, which nobody waits for: what comes after on the device does.

    `torch.tensor(values, device=...)` and indexing by a list wait until all work on the device is done.
    """
    if isinstance(values, np.ndarray):
        return torch.from_numpy(values).to(device, non_blocking=True)
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)
