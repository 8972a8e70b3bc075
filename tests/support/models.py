"""A model small enough for any test."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY = 23


def tiny_model(seed=0, **changes):
    """A random Llama with logits far from uniform."""
    torch.manual_seed(seed)
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    return LlamaForCausalLM(LlamaConfig(**{**settings, **changes}))
