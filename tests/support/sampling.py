"""What tests of samplers share: the slow definition of log-probabilities, and many sessions at once."""

import asyncio
from collections.abc import Sequence
from typing import Any

import torch

from llmgym.sampling import Completion, SamplingParams
from llmgym.sampling.torch_sampler import TorchSampler


def logprobs_by_definition(model: Any, prompt: Sequence[int], ids: Sequence[int], temperature: float = 1.0) -> Any:
    """One forward pass over the whole sequence, without any cache."""
    with torch.no_grad():
        output = model(torch.tensor([[*prompt, *ids]]), use_cache=False)
    logits = output.logits[0, len(prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0].numpy()


def sample_all(sampler: TorchSampler, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[Completion]:
    """One completion of each prompt, all at once; the seed of each is its place."""

    async def one(index: int, prompt: Sequence[int]) -> Completion:
        async with sampler.session(seed=index) as session:
            return await session.sample(prompt, params)

    async def everything() -> list[Completion]:
        return await asyncio.gather(*(one(index, prompt) for index, prompt in enumerate(prompts)))

    return asyncio.run(everything())
