"""A model small enough for any test that vLLM's kernels for a CPU can run: they want heads of 32 at least."""

import torch
from safetensors.torch import load_file
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


def plain_load(worker, path):
    """What older code does in vLLM's worker to change its weights."""
    worker.model_runner.model.load_weights(load_file(path).items())


def teach(model, trajectories, num_steps=60):
    """Have the model say what the trajectories say, nearly always."""
    segments = [segment for trajectory in trajectories for segment in trajectory.segments]
    width = max(len(segment.token_ids) for segment in segments)
    ids, labels = (torch.full((len(segments), width), fill) for fill in (0, -100))
    for row, segment in enumerate(segments):
        tokens = torch.from_numpy(segment.token_ids).long()
        ids[row, : len(tokens)] = tokens
        labels[row, : len(tokens)] = tokens.where(torch.from_numpy(segment.action_mask), -100)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = model(ids, labels=labels, use_cache=False).loss
        loss.backward()
        optimizer.step()
    model.eval()
