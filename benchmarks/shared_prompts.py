"""Learning from groups with long prompts, packed so that each prompt is computed once, beside padded tables.

    python benchmarks/shared_prompts.py --model 0.8M >> benchmarks/results/shared_prompts.jsonl

One JSON line: CPU seconds of GRPO updates and their ratio, for prompts of 256 and 1,024 tokens and completions of 64,
or 8 to 64 ("ragged"), two groups of 8; one thread, float32, both in turn in one process, medians of the updates after
the first; and how far the gradients of both are apart, relative to the largest.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import time

import numpy as np
import torch
from grpo_step import SIZES
from llmgym.agents.grpo import GRPO
from transformers import LlamaConfig, LlamaForCausalLM

from llmgym.episode import Segment, StopReason, Trajectory
from llmgym.learning import ComputeConfig, Learner, LearnerConfig

GROUPS, SAMPLES, LONGEST, SHORTEST = 2, 8, 64, 8


def groups(rng: np.random.Generator, vocabulary: int, prompt: int, *, is_ragged: bool) -> list[list[Trajectory]]:
    def trajectory(prompt_ids: np.ndarray) -> Trajectory:
        length = int(rng.integers(SHORTEST, LONGEST + 1)) if is_ragged else LONGEST
        ids = np.concatenate([prompt_ids, rng.integers(0, vocabulary, length)]).astype(np.int32)
        return Trajectory(
            segments=(Segment(ids, np.arange(len(ids)) >= prompt),),
            turns=(),
            reward=float(rng.random()),
            terminated=True,
            truncated=False,
            stop_reason=StopReason.ANSWERED,
            metadata={},
        )

    prompts = [rng.integers(0, vocabulary, prompt) for _ in range(GROUPS)]
    return [[trajectory(prompt_ids) for _ in range(SAMPLES)] for prompt_ids in prompts]


def gradients(learner: Learner, given: list[list[Trajectory]]) -> torch.Tensor:
    policy = learner.policy
    policy.action_outputs([row for group in given for row in group], temperature=1.0).logprobs_BA.mean().backward()
    found = torch.cat([parameter.grad.flatten() for parameter in policy.module.parameters()])
    policy.module.zero_grad()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SIZES, default="0.8M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--checkpointing", action="store_true", help="layers run again in the backward pass")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES[options.model], num_attention_heads=4)
    model = LlamaForCausalLM(config).eval()
    figures: dict[str, object] = {"benchmark": "shared_prompts", **vars(options)}
    computes = [
        ComputeConfig(attention=attention, gradient_checkpointing=options.checkpointing)
        for attention in ("tables", "padded")
    ]
    for prompt in (256, 1024):
        for is_ragged in (False, True):
            rng = np.random.default_rng(0)
            packed, padded = (
                Learner(copy.deepcopy(model), GRPO(), LearnerConfig(compute=compute)) for compute in computes
            )
            seconds: dict[str, list[float]] = {"packed": [], "padded": []}
            given = groups(rng, config.vocab_size, prompt, is_ragged=is_ragged)
            one, other = gradients(packed, given), gradients(padded, given)
            for _ in range(1 + options.rounds):
                given = groups(rng, config.vocab_size, prompt, is_ragged=is_ragged)
                for name, learner in (("packed", packed), ("padded", padded)):
                    started = time.process_time()
                    learner.update(given)
                    seconds[name].append(time.process_time() - started)
            ratios = [a / b for a, b in zip(seconds["packed"][1:], seconds["padded"][1:], strict=True)]
            figures[f"prompt_{prompt}_{'ragged' if is_ragged else 'equal'}"] = {
                "ratio": round(statistics.median(ratios), 3),
                "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
                **{f"cpu_seconds_{name}": round(statistics.median(times[1:]), 3) for name, times in seconds.items()},
                "gradient_gap": float((one - other).abs().max() / other.abs().max()),
            }
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, 1 thread, torch {torch.__version__}"
    print(json.dumps({**figures, "machine": machine}))


if __name__ == "__main__":
    main()
