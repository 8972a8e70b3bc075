"""A model small enough for any test that vLLM's kernels for a CPU can run: they want heads of 32 at least."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llmgym.messages import ByteTokenizer

NUM_TOKENS = ByteTokenizer().num_tokens


def tiny_vllm_model(seed=0, *, tied=False, num_padding=0, **changes):
    """A random Llama over bytes, with logits far from uniform; its last `num_padding` ids are no tokens."""
    torch.manual_seed(seed)
    settings = {
        "vocab_size": ByteTokenizer().vocab_size + num_padding,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 1024,
        "initializer_range": 0.2,
        "tie_word_embeddings": tied,
    }
    return LlamaForCausalLM(LlamaConfig(**{**settings, **changes})).eval()


def tiny_vllm_folder(folder, seed=0, **changes):
    """The model's weights in a folder, as vLLM loads it; the folder's name."""
    tiny_vllm_model(seed, **changes).save_pretrained(str(folder))
    return str(folder)
