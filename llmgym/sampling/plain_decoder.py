"""Plain decoders, layer by layer: what transformers does around every pass costs as much as a small model's products.

Linear maps, MLPs and embeddings are called as the modules that they are, so that adapters and quantised weights work
as ever. What is not called as a module must not have been changed, which is looked at before each pass.
"""

from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .slot_attention import slot_attention
from .slot_cache import SlotCache

_KINDS = ("llama", "mistral", "qwen2", "qwen3")


def is_plain(base: Any) -> bool:
    """True where `base` is made of the layers that `plain_states` knows."""
    return base is not None and getattr(base.config, "model_type", None) in _KINDS


def is_untouched(base: Any) -> bool:
    """True where nobody has put anything around the modules whose own forward `plain_states` leaves out."""
    inside = ((one, one.self_attn, one.input_layernorm, one.post_attention_layernorm) for one in base.layers)
    return not any(
        module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
        for module in chain((base, base.norm), *inside)
    )


def plain_states(base: Any, ids: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
    """Hidden states of new tokens at positions, both int64[n, q], after the last norm: [n, q, hidden size]."""
    states = base.embed_tokens(ids)
    cos, sin = (part[:, None] for part in base.rotary_emb(states, positions))
    for index, layer in enumerate(base.layers):
        attention, normed = layer.self_attn, _norm(layer.input_layernorm, states)
        heads = (*ids.shape, -1, attention.head_dim)
        query, key = attention.q_proj(normed).view(heads), attention.k_proj(normed).view(heads)
        value = attention.v_proj(normed).view(heads).transpose(1, 2)
        if hasattr(attention, "q_norm"):
            query, key = _norm(attention.q_norm, query), _norm(attention.k_norm, key)
        query, key = _rotated(query.transpose(1, 2), cos, sin), _rotated(key.transpose(1, 2), cos, sin)
        keys, values = cache.update(key, value, index)
        attended, _ = slot_attention(attention, query, keys, values, scaling=attention.scaling)
        states = states + attention.o_proj(attended.reshape(*ids.shape, -1))
        states = states + layer.mlp(_norm(layer.post_attention_layernorm, states))
    return _norm(base.norm, states)


def _norm(module: Any, states: Tensor) -> Tensor:
    if states.dtype != torch.float32:  # in half precision this rounds once where the module, as the learner, does twice
        normed: Tensor = module(states)
        return normed
    return F.rms_norm(states, module.weight.shape, module.weight, module.variance_epsilon)


def _rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = heads.chunk(2, -1)
    return heads * cos + torch.cat((-second, first), -1) * sin
