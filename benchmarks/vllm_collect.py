"""What does collecting episodes cost beside the same vLLM engine driven bare?

Prints one JSON line. Episodes run through a `Collector` and a `VLLMSampler`; every turn's prompt, seed, length and
sampling is written down. Then vLLM's engine with the same arguments, in a process that does nothing else,
samples the same turns, each after the one before it and the tool in between; its tokens must be the same ones. Tokens
per CPU second, of all processes together, are compared: rounds alternate, and figures are medians. `one_turn` is a
single turn of 64 tokens; `four_turns` are four turns of about 50 tokens with a tool of 1 ms between them. With
`--engine async` the sampler has vLLM's asynchronous engine, and the bare one stays: what several processes cost on a
CPU.

    python benchmarks/vllm_collect.py [--model tiny|small] [--episodes 64] [--rounds 5] [--engine in_process|async]
"""

import argparse
import asyncio
import heapq
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

import llmgym
from llmgym.episode import EnvResponse, GeneratedTasks, InitialMessages, MessageEnv, Task, TaskSource
from llmgym.episode.waiting import run_to_end
from llmgym.messages import AssistantMessage, ByteTokenizer, Message
from llmgym.rollout import Collector, plan_groups
from llmgym.sampling import Completion, SamplingParams

TOOL_S = 0.001
VOCABULARY = {"tiny": 264, "small": 8192}
SIZES = {
    "tiny": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4},
    "small": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 5, "num_attention_heads": 6},
}
SETTINGS = {"max_model_len": 1024, "environment": {"OMP_NUM_THREADS": "1"}}


class ManyEnds(ByteTokenizer):
    """One token in about 50 ends a turn, as random models hardly ever say a certain one."""

    end_ids = frozenset(range(5))


class ToolEnv(MessageEnv):
    """Answers each message after a tool of 1 ms."""

    def tasks(self, split: str) -> TaskSource:
        return GeneratedTasks(self._make_task, split=split)

    def _make_task(self, rng: np.random.Generator) -> Task:
        return Task(key="", prompt="".join(rng.choice(list("abcdefgh "), 60)))

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:  # noqa: ARG002
        return InitialMessages((Message("user", task.prompt),))

    async def step(self, message: AssistantMessage) -> EnvResponse:  # noqa: ARG002
        await asyncio.sleep(TOOL_S)
        return EnvResponse(messages=(Message("user", "what the tool says"),))


LIMITS = {
    "one_turn": {"turns": 1, "turn_tokens": 64, "context_tokens": 1000},
    "four_turns": {"turns": 4, "turn_tokens": 192, "context_tokens": 1000},
}


def save_model(size: str, folder: str) -> None:
    """A random Llama."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=VOCABULARY[size], max_position_embeddings=2048, **SIZES[size])
    LlamaForCausalLM(config).save_pretrained(folder)


def cpu_seconds(pids: Sequence[int]) -> float:
    """Of other processes, so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def recording_sampler(model: str, engine: str) -> Any:
    """A sampler that can write down what it is asked; vLLM's sampler otherwise."""
    from llmgym.sampling.vllm import VLLMSampler
    from llmgym.sampling.vllm.session import VLLMSession

    class Host:
        def __init__(self, sampler: Any) -> None:
            self.sampler, self.turns = sampler, []

        async def sample(self, prompt_ids: list[int], params: SamplingParams, *, seed: int) -> Completion:
            completion = await self.sampler.sample(prompt_ids, params, seed=seed)
            stops = list(params.stop_token_ids)
            self.turns.append((prompt_ids, seed, params.max_new_tokens, stops, list(completion.token_ids)))
            return completion

    class Recorder(VLLMSampler):
        episodes: list[list[Any]] | None = None

        @asynccontextmanager
        async def session(self, *, seed: int) -> AsyncIterator[VLLMSession]:
            if self.episodes is None:
                yield VLLMSession(self, seed)
                return
            host = Host(self)
            yield VLLMSession(host, seed)
            self.episodes.append(host.turns)

    return Recorder(model, num_tokens=ByteTokenizer.num_tokens, engine=engine, **SETTINGS)


class Collected:
    """Our side: one round of a case, and what it asked of vLLM."""

    def __init__(self, sampler: Any, case: str, num_episodes: int) -> None:
        tokenizer = ManyEnds() if case == "four_turns" else ByteTokenizer()
        self.sampler, self.name = sampler, case
        kwargs = {"limits": LIMITS[case]}
        self.collector = Collector(
            "benchmark/Tool-v0", sampler, tokenizer=tokenizer, env_kwargs=kwargs, concurrency=num_episodes
        )
        self.plans = plan_groups(self.collector.tasks("train").first(num_episodes), group_size=1, seed=(0,))

    def round(self) -> float:
        """Tokens per CPU second."""
        pids = self.sampler._engine.pids()
        before = time.process_time() + cpu_seconds(pids)
        trajectories = run_to_end(self.collector.run(self.plans, SamplingParams()))
        cpu = time.process_time() + cpu_seconds(pids) - before
        assert all(each.is_valid for each in trajectories)
        return sum(each.num_actions for each in trajectories) / cpu

    def record(self) -> list[list[Any]]:
        """The turns of each episode."""
        self.sampler.episodes = []
        self.round()
        episodes, self.sampler.episodes = self.sampler.episodes, None
        return episodes


def bare_main(model: str) -> None:
    """The other side: an engine of vLLM in this process, fed from stdin."""
    from vllm import SamplingParams as VLLMParams
    from vllm.engine.arg_utils import EngineArgs
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.llm_engine import LLMEngine

    from llmgym.sampling.vllm.host_engines import complete_args
    from llmgym.sampling.vllm.settings import VLLMSettings

    given = VLLMSettings(max_model_len=SETTINGS["max_model_len"]).vllm_args(model, max_batch=64)
    llm = LLMEngine.from_engine_args(EngineArgs(**complete_args(given, "in_process")))
    llm.collective_rpc("mask_padding", kwargs={"num_tokens": ByteTokenizer.num_tokens})
    out = os.fdopen(3, "w")
    print(json.dumps("ready"), file=out, flush=True)

    def params(turn: Any) -> Any:
        _, seed, length, stops, _ = turn
        return VLLMParams(
            temperature=1.0,
            max_tokens=length,
            stop_token_ids=stops,
            seed=seed,
            logprobs=0,
            flat_logprobs=True,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    for line in sys.stdin:
        episodes = json.loads(line)
        started, num_tokens, num_left = time.process_time(), 0, sum(map(len, episodes))
        due = [(0.0, index, 0) for index in range(len(episodes))]
        while num_left:
            while due and due[0][0] <= time.perf_counter():
                _, index, turn = heapq.heappop(due)
                prompt = {"prompt_token_ids": episodes[index][turn][0]}
                llm.add_request(f"{index} {turn}", prompt, params(episodes[index][turn]))
            if not llm.has_unfinished_requests():
                time.sleep(max(0.0, due[0][0] - time.perf_counter()))
                continue
            for output in llm.step():
                index, turn = map(int, output.request_id.split())
                ids = list(output.outputs[0].token_ids)
                assert ids == episodes[index][turn][-1]
                num_tokens, num_left = num_tokens + len(ids), num_left - 1
                if turn + 1 < len(episodes[index]):
                    heapq.heappush(due, (time.perf_counter() + TOOL_S, index, turn + 1))
        cpu = time.process_time() - started
        llm.reset_prefix_cache()
        print(json.dumps({"tokens": num_tokens, "cpu": cpu}), file=out, flush=True)


class Bare:
    """The process of `bare_main`."""

    def __init__(self, model: str) -> None:
        read, write = os.pipe()
        quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCHDYNAMO_DISABLE": "1"}
        command = [sys.executable, __file__, "--bare", model]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3>&{write} {write}>&- >/dev/null 2>&1', "bare", *command],
            stdin=subprocess.PIPE,
            pass_fds=[write],
            text=True,
            env={**os.environ, **SETTINGS["environment"], **quiet, "OMP_WAIT_POLICY": "passive"},
        )
        os.close(write)
        self._answers = os.fdopen(read)
        assert json.loads(self._answers.readline()) == "ready"

    def round(self, episodes: list[list[Any]]) -> float:
        """Tokens per CPU second."""
        assert self._process.stdin is not None
        print(json.dumps(episodes), file=self._process.stdin, flush=True)
        answer = json.loads(self._answers.readline())
        return answer["tokens"] / answer["cpu"]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of both cases."""
    llmgym.register_env("benchmark/Tool-v0", ToolEnv)
    with tempfile.TemporaryDirectory() as folder:
        save_model(options.model, folder)
        sampler, bare = recording_sampler(folder, options.engine), Bare(folder)
        figures: dict[str, Any] = {"vllm": sampler._engine.facts["version"]}
        for case in LIMITS:
            collected = Collected(sampler, case, options.episodes)
            episodes = collected.record()
            bare.round(episodes)
            ours, theirs = [], []
            for _ in range(options.rounds):
                asyncio.run(sampler._engine.reset_prefix_cache())
                ours.append(collected.round())
                theirs.append(bare.round(episodes))
            collected.collector.close()
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            figures[case] = {
                "turns": sum(map(len, episodes)),
                "tokens": sum(len(turn[-1]) for episode in episodes for turn in episode),
                "tokens_per_cpu_s": round(statistics.median(ours)),
                "bare_tokens_per_cpu_s": round(statistics.median(theirs)),
                "ratio": round(statistics.median(ratios), 3),
                "ratio_min": round(min(ratios), 3),
                "ratio_max": round(max(ratios), 3),
            }
        bare.close()
        asyncio.run(sampler.close())
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SIZES), default="small")
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--engine",
        choices=["in_process", "async"],
        default="in_process",
        help="of the sampler; the bare one stays",
    )
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare_main(options.bare)
        return
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()}
    shown = {"model": options.model, "episodes": options.episodes, "rounds": options.rounds, "engine": options.engine}
    print(json.dumps({"benchmark": "vllm_collect", **shown, **measure(options), **machine}))


if __name__ == "__main__":
    main()
