"""A GRPO or RLOO step beside that of TRL, and beside a minimal one written by hand.

    python benchmarks/grpo_step.py --agent grpo --model 0.8M --lengths equal >> benchmarks/results/grpo_step.jsonl

One JSON line: CPU seconds of the whole step and of all of it but sampling, and ratios; one thread, float32, the three
in turn in one process, medians of the steps after the first. Each has its own copy of the same model and gets the same
prompts, 4 of 65 tokens, with 8 samples each of 64 new tokens, or 8 to 64 ("ragged"), and random rewards. Ours and the
minimal step sample with the torch sampler, TRL with transformers' `generate`, the fastest of its ways on a CPU. TRL
runs without gradient checkpointing, which is faster than its default, and with all samples in one batch.
"""

import argparse
import asyncio
import copy
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import trl
from datasets import Dataset
from llmgym.agents.grpo import GRPO
from llmgym.agents.rloo import RLOO
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    StoppingCriteria,
    StoppingCriteriaList,
    TrainerCallback,
)

from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.learning import Learner, LearnerConfig
from llmgym.messages import AssistantMessage
from llmgym.sampling import Completion, SamplingParams
from llmgym.sampling.torch_sampler import TorchSampler
from llmgym.scoring import Score

PROMPTS, GROUP, PROMPT, LONGEST, SHORTEST = 4, 8, 65, 64, 8
SAMPLES = PROMPTS * GROUP
LEARNING_RATE = 1e-6
SIZES = {
    "0.8M": {"vocab_size": 264, "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4},
    "14.5M": {"vocab_size": 8192, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6},
}
END = 0
"""Both the end token and padding; nobody samples it."""


class Problem:
    """What each step is given, the same for everybody."""

    def __init__(self, num_steps: int, vocabulary: int, *, is_ragged: bool) -> None:
        rng = np.random.default_rng(0)
        self.prompts = rng.integers(5, vocabulary, size=(num_steps, PROMPTS, PROMPT)).tolist()
        lengths = rng.integers(SHORTEST, LONGEST + 1, size=(num_steps, SAMPLES))
        self.lengths = lengths.tolist() if is_ragged else np.full_like(lengths, LONGEST).tolist()
        self.rewards = rng.random((num_steps, SAMPLES)).tolist()
        self.is_ragged = is_ragged


def sample(
    sampler: TorchSampler, prompts: Sequence[list[int]], lengths: Sequence[int], seed: int
) -> tuple[list[Completion], float]:
    """A completion of each length, and CPU seconds."""
    started = time.process_time()

    async def one(index: int) -> Completion:
        async with sampler.session(seed=seed * SAMPLES + index) as session:
            return await session.sample(prompts[index // GROUP], SamplingParams(max_new_tokens=lengths[index]))

    async def everything() -> list[Completion]:
        return await asyncio.gather(*map(one, range(SAMPLES)))

    return asyncio.run(everything()), time.process_time() - started


class Ours:
    """Sampler, trajectories, learner."""

    def __init__(self, model: LlamaForCausalLM, agent: str, problem: Problem) -> None:
        self.problem = problem
        self.learner = Learner(model, {"grpo": GRPO, "rloo": RLOO}[agent](), LearnerConfig(learning_rate=LEARNING_RATE))
        self.sampler = TorchSampler(self.learner.policy.module, max_batch=SAMPLES)

    def step(self, index: int) -> tuple[float, float]:
        """CPU seconds of the whole step, and of sampling."""
        problem = self.problem
        started = time.process_time()
        completions, sampling = sample(self.sampler, problem.prompts[index], problem.lengths[index], index)
        groups = [
            [self.trajectory(index, row, completions[row]) for row in range(group * GROUP, (group + 1) * GROUP)]
            for group in range(PROMPTS)
        ]
        self.learner.update(groups)
        asyncio.run(self.sampler.update_weights(self.learner.weight_source(), version=index + 1))
        return time.process_time() - started, sampling

    def trajectory(self, index: int, row: int, completion: Completion) -> Trajectory:
        prompt, reward = self.problem.prompts[index][row // GROUP], self.problem.rewards[index][row]
        ids = np.array([*prompt, *completion.token_ids], dtype=np.int32)
        is_action = np.arange(len(ids)) >= PROMPT
        logprobs = np.zeros(len(ids), dtype=np.float32)
        logprobs[PROMPT:] = completion.logprobs
        turn = TurnRecord(0, PROMPT, len(ids), AssistantMessage(content=""), Score(reward=reward))
        return Trajectory(
            segments=(Segment(ids, is_action, logprobs),),
            turns=(turn,),
            reward=reward,
            terminated=True,
            truncated=False,
            stop_reason=StopReason.ANSWERED,
            group_id=row // GROUP,
            metadata={},
        )


class Minimal:
    """The least that makes the same update: one forward pass, the loss of action tokens, AdamW."""

    def __init__(self, model: LlamaForCausalLM, agent: str, problem: Problem) -> None:
        self.model, self.agent, self.problem = model, agent, problem
        self.sampler = TorchSampler(model, max_batch=SAMPLES)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)

    def step(self, index: int) -> tuple[float, float]:
        """CPU seconds of the whole step, and of sampling."""
        problem, model = self.problem, self.model
        started = time.process_time()
        completions, sampling = sample(self.sampler, problem.prompts[index], problem.lengths[index], index)
        longest = max(len(completion.token_ids) for completion in completions)
        ids = torch.full((SAMPLES, PROMPT + longest), END)
        mask = torch.zeros(SAMPLES, longest)
        for row, completion in enumerate(completions):
            length = len(completion.token_ids)
            ids[row, : PROMPT + length] = torch.tensor([*problem.prompts[index][row // GROUP], *completion.token_ids])
            mask[row, :length] = 1
        rewards = torch.tensor(problem.rewards[index]).view(PROMPTS, GROUP)
        loss_weights = self.loss_weights(rewards, mask)

        states = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[:, PROMPT - 1 :]
        logits = model.lm_head(states)
        logprobs = -torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, PROMPT:].flatten(), reduction="none"
        ).view_as(mask)
        ratio = (logprobs - logprobs.detach()).exp() if self.agent == "grpo" else logprobs
        (-(ratio * loss_weights).sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        asyncio.run(self.sampler.update_weights((), version=index + 1))  # type: ignore[arg-type]
        return time.process_time() - started, sampling

    def loss_weights(self, rewards: Tensor, mask: Tensor) -> Tensor:
        if self.agent == "grpo":
            advantages = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
            return advantages.flatten()[:, None] * mask / mask.sum()
        others = (rewards.sum(1, keepdim=True) - rewards) / (GROUP - 1)
        return (rewards - others).flatten()[:, None] * mask / mask.sum(1, keepdim=True) / SAMPLES


class _Lengths(StoppingCriteria):  # type: ignore[misc]
    """Each row is done at its own length."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.ends = PROMPT + torch.tensor(lengths)

    def __call__(self, input_ids: Tensor, *_: object, **__: object) -> Tensor:
        return input_ids.shape[1] >= self.ends


class BesideTRL(TrainerCallback):  # type: ignore[misc]
    """Lets TRL take its steps, and the others theirs in between."""

    def __init__(self, model: LlamaForCausalLM, agent: str, problem: Problem, others: dict[str, Any], way: str) -> None:
        self.problem, self.others, self.index = problem, others, 0
        self.seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ("trl", *others)}
        self.sampling = self.started = 0.0
        vocabulary = {"<end>": END} | {f"t{index}": index for index in range(1, model.config.vocab_size)}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        config, trainer = {"grpo": (trl.GRPOConfig, trl.GRPOTrainer), "rloo": (trl.RLOOConfig, trl.RLOOTrainer)}[agent]
        with tempfile.TemporaryDirectory() as folder:
            self.trainer = trainer(
                model=model,
                reward_funcs=self.rewards,
                args=config(
                    output_dir=folder,
                    use_cpu=True,
                    bf16=False,
                    per_device_train_batch_size=SAMPLES,
                    num_generations=GROUP,
                    max_completion_length=LONGEST,
                    max_steps=len(problem.prompts),
                    learning_rate=LEARNING_RATE,
                    beta=0.0,
                    temperature=1.0,
                    gradient_checkpointing=False,
                    shuffle_dataset=False,
                    dataloader_pin_memory=False,
                    logging_strategy="no",
                    save_strategy="no",
                    report_to=[],
                    disable_tqdm=True,
                    **({"cache_implementation": "static"} if way == "static" else {}),
                    **({"use_transformers_continuous_batching": True} if way == "continuous" else {}),
                ),
                processing_class=PreTrainedTokenizerFast(
                    tokenizer_object=tokenizer, pad_token="<end>", eos_token="<end>", unk_token="<end>"
                ),
                train_dataset=Dataset.from_list(
                    [{"prompt": " ".join(f"t{token}" for token in ids)} for step in problem.prompts for ids in step]
                ),
                callbacks=[self],
            )
        if way != "continuous":
            self.generate, model.generate = model.generate, self.generate_lengths
        self.turn, self.trainer._generate_single_turn = self.trainer._generate_single_turn, self.timed_turn

    def timed_turn(self, *given: Any, **named: Any) -> Any:
        """Counts what sampling takes."""
        started = time.process_time()
        try:
            return self.turn(*given, **named)
        finally:
            self.sampling += time.process_time() - started

    def generate_lengths(self, *given: Any, generation_config: Any, **named: Any) -> Tensor:
        """Completions of the lengths asked for: no end token is sampled within them."""
        generation_config.eos_token_id = self.trainer.model.config.vocab_size  # which is no token
        lengths = self.problem.lengths[self.index]
        if self.problem.is_ragged:
            named["stopping_criteria"] = StoppingCriteriaList([_Lengths(lengths)])
        output: Tensor = self.generate(*given, generation_config=generation_config, **named)
        assert output.shape == (SAMPLES, PROMPT + max(lengths))
        place = torch.arange(output.shape[1])
        is_inside = place < PROMPT + torch.tensor(lengths)[:, None]
        return output.masked_fill_((output == END) & is_inside, END + 5)

    def rewards(self, completions: Sequence[str], **_: object) -> list[float]:
        assert len(completions) == SAMPLES
        return self.problem.rewards[self.index]

    def on_train_begin(self, *_: object, **__: object) -> None:
        self.started = time.process_time()

    def on_step_end(self, *_: object, **__: object) -> None:
        self.seconds["trl"].append((time.process_time() - self.started, self.sampling))
        for name, other in self.others.items():
            self.seconds[name].append(other.step(self.index))
        self.index += 1
        self.sampling, self.started = 0.0, time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agent", choices=["grpo", "rloo"], default="grpo")
    parser.add_argument("--model", choices=SIZES, default="0.8M")
    parser.add_argument("--lengths", choices=["equal", "ragged"], default="equal")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trl-generation", choices=["dynamic", "static", "continuous"], default="dynamic")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES[options.model], num_attention_heads=4, eos_token_id=END, pad_token_id=END)
    model = LlamaForCausalLM(config).eval()
    problem = Problem(1 + options.rounds, config.vocab_size, is_ragged=options.lengths == "ragged")
    others = {kind.__name__.lower(): kind(copy.deepcopy(model), options.agent, problem) for kind in (Ours, Minimal)}
    beside = BesideTRL(model, options.agent, problem, others, options.trl_generation)
    beside.trainer.train()

    figures: dict[str, object] = {"benchmark": "grpo_step", **vars(options)}
    parts = {
        "step": {name: [whole for whole, _ in pairs[1:]] for name, pairs in beside.seconds.items()},
        "learner": {name: [whole - part for whole, part in pairs[1:]] for name, pairs in beside.seconds.items()},
    }
    for part, seconds in parts.items():
        for other in ("trl", "minimal"):
            ratios = [a / b for a, b in zip(seconds["ours"], seconds[other], strict=True)]
            figures[f"{part}_to_{other}"] = round(statistics.median(ratios), 3)
            figures[f"{part}_to_{other}_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
    for part, seconds in parts.items():
        figures[f"{part}_cpu_seconds"] = {name: round(statistics.median(times), 3) for name, times in seconds.items()}
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, 1 thread, torch {torch.__version__}, trl {trl.__version__}"
    print(json.dumps({**figures, "machine": machine}))


if __name__ == "__main__":
    main()
