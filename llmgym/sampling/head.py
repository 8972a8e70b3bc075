"""The head of a language model, apart from what lies below it."""

from typing import Any

import torch


@torch.no_grad()
def base_and_head(module: Any) -> tuple[Any, Any]:
    """The model below the head, and the head, if together they give the model's logits; else (None, None)."""
    model = module.get_base_model() if hasattr(module, "get_base_model") else module  # of peft: adapters work inside it
    base, head = getattr(model, "base_model", None), getattr(model, "get_output_embeddings", lambda: None)()
    if base is None or base is model or head is None:
        return None, None
    device = next(module.parameters()).device
    inputs = {"input_ids": torch.arange(6, device=device).view(2, 3) % head.weight.shape[0], "use_cache": False}
    states = getattr(base(**inputs), "last_hidden_state", None)
    if states is None:
        return None, None
    expected, logits = module(**inputs).logits, head(states)
    # The same operations on the same numbers agree to the last bit. A tolerance would miss the soft-capping of a new
    # model, whose small logits it hardly changes yet.
    is_same = torch.equal(logits.float(), expected.float())
    return (base, head) if is_same else (None, None)
