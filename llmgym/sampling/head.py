"""The head of a language model, apart from what lies below it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogitScaling:
    """What a model makes of what its head gives, in this order."""

    multiplier: float = 1.0
    divisor: float = 1.0
    cap: float | None = None
    """c of c * tanh(logits / c)."""

    def __call__(self, logits: Tensor) -> Tensor:
        """The model's logits."""
        if self.multiplier != 1:
            logits = logits * self.multiplier
        if self.divisor != 1:
            logits = logits / self.divisor
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


PLAIN = LogitScaling()
"""The head's output is the logits."""


def base_and_head(module: Any) -> tuple[Any, Any]:
    """The model below the head, and the head, if together they give the model's logits; else (None, None)."""
    base, head, scaling = base_head_and_scaling(module)
    return (base, head) if scaling == PLAIN else (None, None)


@torch.no_grad()
def base_head_and_scaling(module: Any) -> tuple[Any, Any, LogitScaling]:
    """The model below the head, the head, and what is made of its output; (None, None, PLAIN) if that is not known."""
    unknown = None, None, PLAIN
    model = module.get_base_model() if hasattr(module, "get_base_model") else module  # of peft: adapters work inside it
    base, head = getattr(model, "base_model", None), getattr(model, "get_output_embeddings", lambda: None)()
    if base is None or base is model or head is None:
        return unknown
    device = next(module.parameters()).device
    inputs = {"input_ids": torch.arange(6, device=device).view(2, 3) % head.weight.shape[0], "use_cache": False}
    states = getattr(base(**inputs), "last_hidden_state", None)
    if states is None:
        return unknown
    expected, output = module(**inputs).logits, head(states)
    # The same operations on the same numbers agree to the last bit. A tolerance would miss the soft-capping of a new
    # model, whose small logits it hardly changes yet.
    candidates = _candidates(getattr(model, "config", None))
    found = [scaling for scaling in candidates if torch.equal(scaling(output).float(), expected.float())]
    return (base, head, found[0]) if len(found) == 1 else unknown  # several only where the numbers tell nothing


def _candidates(config: Any) -> list[LogitScaling]:
    """No scaling, and those that the config speaks of by the names in use."""
    config = config.get_text_config() if hasattr(config, "get_text_config") else config

    def number(name: str) -> float | None:
        value = getattr(config, name, None)
        return float(value) if isinstance(value, int | float) and value else None

    scaling = number("logits_scaling")  # some models divide by it, others multiply
    factors = [(number("logit_scale"), None), (number("output_multiplier"), None), (None, scaling), (scaling, None)]
    pairs = {(1.0, 1.0), *((multiplier or 1.0, divisor or 1.0) for multiplier, divisor in factors)}
    caps = dict.fromkeys([None, number("final_logit_softcapping")])
    return [LogitScaling(*pair, cap) for pair in sorted(pairs) for cap in caps]
