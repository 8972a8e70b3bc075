"""The learner, the sampler and whole runs on a pretended GPU: tensors are where they should be, numbers the same.

A real GPU rounds otherwise, and has kernels of its own; neither can be seen here.
"""

import asyncio
import json
import math

import numpy as np
import pytest
import torch
from llmgym.agents.grpo import GRPO
from llmgym.agents.gspo import GSPO
from llmgym.agents.ppo import PPO
from llmgym.agents.rloo import RLOO
from llmgym.agents.sft import SFT
from support.models import tiny_model
from support.pretended_gpu import PretendedGPU, strays
from transformers import LlamaConfig, LlamaForSequenceClassification

import llmgym
from llmgym import AssistantMessage, ByteTokenizer, Task
from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.learning import (
    ComputeConfig,
    CorrectionConfig,
    CriticConfig,
    KLConfig,
    Learner,
    LearnerConfig,
    LoRAConfig,
    load_checkpoint,
    save_checkpoint,
)
from llmgym.learning.model import ModelWeights
from llmgym.learning.reward_model import RewardModel
from llmgym.sampling import KeptTokens, SamplingParams
from llmgym.sampling.torch_sampler import TorchSampler
from llmgym.scoring import Score
from llmgym.training import RunProgress


def on_gpu(*shape):
    return torch.ones(shape, device="cuda")


REFUSED = {
    "arithmetic": lambda: on_gpu(3) + torch.ones(3),
    "joining": lambda: torch.cat([on_gpu(3), torch.zeros(())[None]]),
    "an index on the GPU into the CPU": lambda: torch.ones(3)[torch.tensor([1], device="cuda")],
    "writing from the CPU at an index": lambda: on_gpu(3).index_put_((torch.tensor([0, 1]),), torch.ones(2)),
    "ids on the CPU": lambda: torch.nn.Embedding(3, 2, device="cuda")(torch.tensor([1])),
    "arange without a device": lambda: on_gpu(3).gather(0, torch.arange(3)),
    "a generator of the CPU": lambda: torch.multinomial(on_gpu(3), 1, generator=torch.Generator()),
    "numpy": lambda: on_gpu(3).numpy(),
    "numpy, unseen": lambda: np.asarray(on_gpu(3)),
    "a moved model and an input that was not": lambda: torch.nn.Linear(2, 2).to("cuda")(torch.ones(1, 2)),
    "a gradient on the CPU": lambda: (on_gpu(3).requires_grad_() * on_gpu(3)).backward(torch.ones(3)),
    "reading before it is there": lambda: on_gpu(3).to("cpu", non_blocking=True),
}


@pytest.mark.parametrize("wrong", REFUSED.values(), ids=REFUSED)
def test_what_a_gpu_refuses_the_pretended_one_refuses(wrong):
    with PretendedGPU(), pytest.raises((RuntimeError, TypeError), match=r"same device|numpy|generator|may not be"):
        wrong()


def test_what_a_gpu_takes_from_the_cpu_the_pretended_one_takes_and_says_who_waited():
    with PretendedGPU() as gpu:
        table = on_gpu(2, 3) * torch.tensor(2.0)
        table[[0], :2] = 5.0
        table[1] = torch.ones(3)
        weight = torch.ones(3, requires_grad=True)
        (table[torch.tensor([0])] @ weight.to("cuda")[:, None]).sum().backward()

        assert (table.device.type, table.is_cuda, weight.device.type, weight.grad.device.type) == (
            "cuda", True, "cpu", "cpu",
        )  # fmt: skip
        assert weight.grad.tolist() == [5.0, 5.0, 2.0]
        assert {kind for kind, _ in gpu.waits} == {"index", "copy"}
    assert torch.ones(1).device.type == "cpu"
    assert "device" not in vars(torch.Tensor)


def rows_of(params, *, ending=StopReason.ANSWERED):
    """Six trajectories of two turns, with a tool's token between them, as a sampler on the CPU samples them."""

    async def episode(sampler, seed):
        async with sampler.session(seed=seed) as session:
            first = await session.sample([5, 6], params)
            return first, await session.sample([5, 6, *first.token_ids, 7], params)

    async def all_episodes():
        sampler = TorchSampler(tiny_model(), max_batch=6)
        return await asyncio.gather(*(episode(sampler, seed) for seed in range(6)))

    return [_trajectory(index, turns, params, ending) for index, turns in enumerate(asyncio.run(all_episodes()))]


def _trajectory(index, turns, params, ending):
    ids, logprobs, kept, spans = [5, 6], [0.0, 0.0], [], []
    for place, turn in enumerate(turns):
        ids, logprobs = ids + [7] * place, logprobs + [0.0] * place
        spans.append((len(ids), len(ids) + len(turn.token_ids)))
        ids, logprobs = [*ids, *turn.token_ids], [*logprobs, *turn.logprobs.tolist()]
        kept += [] if turn.kept_tokens is None else turn.kept_tokens.rows()
    is_action = np.array([any(start <= place < stop for start, stop in spans) for place in range(len(ids))])
    segment = Segment(
        np.array(ids, np.int32), is_action, np.array(logprobs, np.float32), kept_tokens=KeptTokens.from_rows(kept)
    )
    reward = float(index % 3)
    return Trajectory(
        segments=(segment,),
        turns=tuple(
            TurnRecord(0, *span, AssistantMessage(""), Score(reward=reward * place)) for place, span in enumerate(spans)
        ),
        reward=reward,
        terminated=ending is StopReason.ANSWERED,
        truncated=ending is not StopReason.ANSWERED,
        stop_reason=ending,
        sampling=params,
        metadata={},
    )


@pytest.fixture(scope="module")
def rows():
    whole, cut = SamplingParams(max_new_tokens=4), SamplingParams(max_new_tokens=4, top_p=0.7)
    return {"whole": rows_of(whole), "cut": rows_of(cut), "out of time": rows_of(whole, ending=StopReason.TIME_LIMIT)}


LESS = ComputeConfig(gradient_checkpointing=True, offload_activations=True, offload_optimizer=True, fused=True)
UPDATES = {
    "gradient in the forward pass": (GRPO(group_size=3), "whole", {}),
    "old log-probabilities, correction": (
        GRPO(group_size=3, minibatches=2),
        "whole",
        {"correction": CorrectionConfig(low=0.9, high=1.01)},
    ),
    "trajectory ratio, correction": (
        GSPO(group_size=3, minibatches=1),
        "whole",
        {"correction": CorrectionConfig(level="geometric", action="mask", low=0.5), "max_actions": 8},
    ),
    "kept sets, penalty in the loss": (
        GRPO(group_size=3, top_p=0.7),
        "cut",
        {"kl": KLConfig(coef=0.1, estimator="k3", placement="loss")},
    ),
    "penalty in the reward": (RLOO(group_size=3), "whole", {"kl": KLConfig(coef=0.1)}),
    "critic head, entropy, bootstrapping": (PPO(minibatches=1, entropy_coef=0.01), "out of time", {}),
    "critic model, adapters": (
        PPO(minibatches=1),
        "whole",
        {"critic": CriticConfig(kind="model"), "lora": LoRAConfig(r=2), "kl": KLConfig(coef=0.1)},
    ),
    "adapters on the head, kept sets": (
        GRPO(group_size=3, top_p=0.7),
        "cut",
        {"lora": LoRAConfig(r=2, target_modules=("lm_head", "q_proj"))},
    ),
    "everything that saves memory": (PPO(minibatches=1), "whole", {"compute": LESS, "microbatch_tokens": 30}),
    "demonstrations": (SFT(), "whole", {"compute": ComputeConfig(fused=True)}),
}


def updated(name, rows, device, dtype=torch.float32):
    agent, kind, config = UPDATES[name]
    learner = Learner(tiny_model().to(device=device, dtype=dtype), agent, LearnerConfig(
        **{"learning_rate": 1e-2, "max_sampling_gap": math.inf, "microbatch_tokens": 60, **config}
    ))  # fmt: skip
    metrics = learner.update([rows[kind][:3], rows[kind][3:]])
    return learner, metrics


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_on_a_gpu_is_that_of_the_cpu(name, rows, monkeypatch):
    monkeypatch.setattr(
        "llmgym.learning.head_logprobs._MAX_PLAIN_LOGITS", 8
    )  # so that few tokens are worked on in tiles
    dtype = torch.bfloat16 if name == "everything that saves memory" else torch.float32
    expected, expected_metrics = updated(name, rows, "cpu", dtype)
    with PretendedGPU():
        found, metrics = updated(name, rows, "cuda", dtype)

        module = found.policy.module
        assert strays([*module.parameters(), *module.buffers()], "cuda") == []
        weights = {name: tensor.cpu() for name, tensor in module.state_dict().items()}
    assert metrics == expected_metrics
    assert metrics["num_optimizer_steps"] > 0
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.policy.module.state_dict().items())


def test_an_update_waits_for_the_gpu_as_often_however_many_passes_it_takes(rows):
    def waits(microbatch_tokens):
        config = LearnerConfig(max_sampling_gap=math.inf, microbatch_tokens=microbatch_tokens)
        with PretendedGPU() as gpu:
            learner = Learner(tiny_model().to("cuda"), GRPO(group_size=3, top_p=0.7), config)
            gpu.waits.clear()
            learner.update([rows["cut"][:3], rows["cut"][3:]])
        # Of a pass, transformers asks whether there is padding.
        return sum(num for (_, place), num in gpu.waits.items() if not place.startswith("llmgym.learning.model:"))

    assert waits(microbatch_tokens=20) == waits(microbatch_tokens=10_000) < 8


def test_a_checkpoint_of_a_gpu_goes_on_there_to_the_same_bits(rows, tmp_path):
    name = "everything that saves memory"
    with PretendedGPU():
        learner, _ = updated(name, rows, "cuda")
        save_checkpoint(tmp_path, learner.state_dict())
        expected = learner.update([rows["whole"]])
        state = load_checkpoint(tmp_path)
        other, _ = updated(name, rows, "cuda")

        other.load_state_dict(state)

        assert strays(state["model"].values(), "cpu") == []
        assert other.update([rows["whole"]]) == expected
        assert strays(other.policy.module.parameters(), "cuda") == []
        assert other.policy.module.state_dict().keys() == learner.policy.module.state_dict().keys()


@pytest.mark.parametrize("cut", [{}, {"top_p": 0.7, "top_k": 9, "temperature": 0.6}, {"temperature": 0.0}], ids=str)
def test_the_sampler_samples_the_same_on_a_gpu_also_with_weights_that_come_from_the_cpu(cut):
    params, prompts = SamplingParams(max_new_tokens=5, **cut), [[1, 2, 3], [1, 2, 3], [4], [5, 6]]

    async def two_versions(device):
        sampler = TorchSampler(tiny_model().to(device), max_batch=3, num_tokens=20)

        async def turns(seed):
            async with sampler.session(seed=seed) as session:
                first = await session.sample(prompts[seed], params)
                return [first, await session.sample([*prompts[seed], *first.token_ids, 7, 8], params)]

        before = await asyncio.gather(*map(turns, range(4)))
        await sampler.update_weights(ModelWeights(tiny_model(seed=1)), version=1)
        return [turn for pair in [*before, *await asyncio.gather(*map(turns, range(4)))] for turn in pair]

    expected = asyncio.run(two_versions("cpu"))
    with PretendedGPU():
        found = asyncio.run(two_versions("cuda"))

    assert len({one.token_ids for one in expected}) > 4
    for one, other in zip(found, expected, strict=True):
        assert one.token_ids == other.token_ids
        assert np.array_equal(one.logprobs, other.logprobs)
        kept = [each.kept_tokens and [row.tolist() for row in each.kept_tokens.rows()] for each in (one, other)]
        assert kept[0] == kept[1]


@pytest.mark.parametrize(("cut", "num_waits"), [({}, 1), ({"top_k": 4}, 3)], ids=["whole", "kept sets"])
def test_the_sampler_waits_for_the_gpu_where_it_reads_the_tokens_of_a_step_and_nowhere_else(cut, num_waits):
    params = SamplingParams(max_new_tokens=4, temperature=0.9, **cut)

    async def episode(sampler, prompt, seed):
        async with sampler.session(seed=seed) as session:
            await session.sample(prompt, params)

    async def group(sampler):
        await asyncio.gather(*(episode(sampler, prompt, seed) for seed, prompt in enumerate([[1, 2], [1, 2], [3]])))

    with PretendedGPU() as gpu:
        sampler = TorchSampler(tiny_model().to("cuda"), max_batch=3)
        gpu.waits.clear()
        asyncio.run(group(sampler))

    assert {place.rpartition(":")[0] for _, place in gpu.waits} == {"llmgym.sampling.next_token"}
    assert gpu.num_waits == 4 * num_waits


def test_a_reward_model_judges_the_same_on_a_gpu():
    torch.manual_seed(0)
    sizes = {"vocab_size": 264, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_labels": 1}
    model = LlamaForSequenceClassification(LlamaConfig(**sizes, num_attention_heads=2, pad_token_id=256))
    judge, message, task = (
        RewardModel(model, tokenizer=ByteTokenizer()),
        AssistantMessage("4"),
        Task(key="0", prompt="Say 4."),
    )
    expected = judge(message, task).reward

    with PretendedGPU():
        model.to("cuda")
        assert judge(message, task).reward == expected


def test_adapters_wake_no_gpu(monkeypatch):
    lora, model = LearnerConfig(lora=LoRAConfig(r=2)), tiny_model()
    Learner(tiny_model(), GRPO(), lora)  # imports what looks for a real GPU when it is imported
    with PretendedGPU():
        for name in ("get_rng_state", "set_rng_state", "manual_seed_all"):
            monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: pytest.fail(f"torch.cuda.{name} was called"))

        learner = Learner(model.to("cuda"), GRPO(), lora)

        assert strays(learner.policy.module.parameters(), "cuda") == []


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["grpo", "ppo", "grpo+lora"])
def test_a_whole_run_on_a_gpu_has_the_metrics_of_the_cpu(agent, tmp_path):
    def metrics(device):
        name, _, lora = agent.partition("+")
        llmgym.train(
            env="llmgym/Copy-v0",
            env_kwargs={"limits": {"turn_tokens": 6, "episode_tokens": 6, "context_tokens": 64}},
            agent={"name": name, "group_size": 2},
            model={"tiny": {"hidden_size": 32, "num_layers": 1, "num_heads": 1}, "device": device},
            learner={"lora": {"r": 2}} if lora else {},
            rollout={"tasks_per_step": 2},
            evaluation={"every": 2, "num_tasks": 2},
            checkpoint={"every": 1},
            trackers=[],
            threads=1,
            steps=2,
            output=str(tmp_path / device),
            progress=RunProgress(quiet=True),
        )
        lines = (tmp_path / device / "metrics.jsonl").read_text().splitlines()
        machine = ("second", "time", "memory", "per_s")
        return [
            {name: value for name, value in json.loads(line).items() if not any(word in name for word in machine)}
            for line in lines
        ]

    expected = metrics("cpu")
    with PretendedGPU():
        assert metrics("cuda") == expected
    assert len(expected) > 2
    assert (tmp_path / "cuda" / "model").is_dir()
