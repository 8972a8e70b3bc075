"""The torch sampler beside transformers `generate`: same model, prompts and lengths, interleaved in one process.

    python benchmarks/sampler_vs_generate.py --rounds 5

One JSON line: tokens per CPU second of both and their ratio, at equal lengths (64 rows of 64 new tokens) and at ragged
ones (256 requests of 8 to 128 new tokens, 64 at a time). `generate` runs each batch until its longest row is done, its
rows stop being counted at their own length. Temperature 1; both give log-probabilities of what they sampled.
"""

import argparse
import asyncio
import json
import platform
import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, StoppingCriteria, StoppingCriteriaList

from llmgym.sampling import SamplingParams
from llmgym.sampling.torch_sampler import TorchSampler

BATCH, PROMPT = 64, 64
SIZES = {
    "0.8M": {"vocab_size": 264, "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4},
    "14.5M": {"vocab_size": 8192, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6},
}


class _Lengths(StoppingCriteria):  # type: ignore[misc]
    """Each row is done at its own length."""

    def __init__(self, prompt: int, lengths: Sequence[int]) -> None:
        self.ends = prompt + torch.tensor(lengths)

    def __call__(self, input_ids: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return input_ids.shape[1] >= self.ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", choices=SIZES, default="0.8M")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES[arguments.model], num_attention_heads=4)).eval()
    rng = np.random.default_rng(0)
    cases = {"equal": [64] * BATCH, "ragged": rng.integers(8, 129, size=256).tolist()}

    figures: dict[str, object] = {"benchmark": "sampler_vs_generate", "model": arguments.model}
    for name, lengths in cases.items():
        prompts = rng.integers(5, SIZES[arguments.model]["vocab_size"], size=(len(lengths), PROMPT)).tolist()
        rates: dict[str, list[float]] = {"llmgym": [], "generate": []}
        for round_index in range(1 + arguments.rounds):
            for who, run in (("llmgym", by_sampler), ("generate", by_generate)):
                started = time.process_time()
                run(model, prompts, lengths)
                seconds = time.process_time() - started
                if round_index:  # the first warms up
                    rates[who].append(sum(lengths) / seconds)
        ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
        figures[name] = {
            "ratio": round(statistics.median(ratios), 3),
            "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
            **{f"{who}_tokens_per_cpu_second": round(statistics.median(rate)) for who, rate in rates.items()},
        }
    figures["machine"] = f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}"
    print(json.dumps(figures))


def by_sampler(model: LlamaForCausalLM, prompts: Sequence[Sequence[int]], lengths: Sequence[int]) -> None:
    sampler = TorchSampler(model, max_batch=BATCH)

    async def one(index: int) -> None:
        async with sampler.session(seed=index) as session:
            completion = await session.sample(prompts[index], SamplingParams(max_new_tokens=lengths[index]))
            assert len(completion.token_ids) == lengths[index]

    async def everything() -> None:
        await asyncio.gather(*map(one, range(len(prompts))))

    asyncio.run(everything())


@torch.inference_mode()
def by_generate(model: LlamaForCausalLM, prompts: Sequence[Sequence[int]], lengths: Sequence[int]) -> None:
    for start in range(0, len(prompts), BATCH):
        rows = lengths[start : start + BATCH]
        output = model.generate(
            torch.tensor(prompts[start : start + BATCH]),
            do_sample=True,
            top_k=0,
            max_new_tokens=max(rows),
            eos_token_id=None,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
            stopping_criteria=StoppingCriteriaList([_Lengths(PROMPT, rows)]),
        )
        model.compute_transition_scores(output.sequences, output.logits, normalize_logits=True)


if __name__ == "__main__":
    main()
