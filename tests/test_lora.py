"""Low-rank adapters: what learns, what it is compared with, what samplers get, and what comes back from disk."""

import asyncio
import copy
import json
import string
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from llmgym.agents.grpo import GRPO
from llmgym.agents.ppo import PPO
from support.bandit import bandit_model, bandit_rows, log_probabilities, trajectory, varied
from support.models import tiny_model
from support.sampling import logprobs_by_definition

import llmgym
from llmgym.errors import CheckpointError, ConfigError, MissingExtraError, SamplerError
from llmgym.learning import CriticConfig, KLConfig, Learner, LearnerConfig, LoRAConfig, Policy, load_policy
from llmgym.learning.lora import FullWeights, add_adapter
from llmgym.sampling import SamplingParams
from llmgym.sampling.torch_sampler import TorchSampler
from llmgym.training import RunProgress

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rank-stabilised": {"use_rslora": True},
    "dora": {"use_dora": True},
    "on the head too": {"target_modules": ("q_proj", "lm_head")},
    "dora, on the head too": {"target_modules": ("q_proj", "lm_head"), "use_dora": True},
}
KL = KLConfig(coef=0.05, estimator="k3", placement="loss")
START = bandit_model().state_dict()


def learner_of(agent: Any = None, model: Any = None, learning_rate: float = 1e-2, **settings: Any) -> Learner:
    names = ("kl", "critic")
    options = {name: settings.pop(name) for name in names if name in settings}
    config = LearnerConfig(learning_rate=learning_rate, lora=LoRAConfig(**{"r": 4, **settings}), **options)
    return Learner(model if model is not None else bandit_model(), agent or GRPO(group_size=2), config)


def logprobs(policy: Any) -> torch.Tensor:
    return policy.action_outputs(varied(), temperature=1.0).logprobs_BA.detach()


def trained(**settings: Any) -> Learner:
    learner = learner_of(**settings)
    for _ in range(2):
        learner.update([varied()])
    return learner


@pytest.mark.parametrize("kind", KINDS)
def test_the_policy_moves_and_what_is_below_the_adapter_does_not(kind: str) -> None:
    learner, start = learner_of(**KINDS[kind]), logprobs(Policy(bandit_model()))
    assert torch.equal(logprobs(learner.policy), start) or kind.startswith("dora")
    torch.testing.assert_close(logprobs(learner.policy), start)

    for _ in range(2):
        learner.update([varied()])

    moved = {name for name, tensor in learner.base_weight_source() if not torch.equal(tensor, START[name])}
    assert not moved
    assert float((logprobs(learner.policy) - start).abs().max()) > 0.1
    assert learner.policy.runs_head_on_actions_only
    parameters = [one for group in learner.steps.optimizer.param_groups for one in group["params"]]
    assert len(parameters) == len(dict(learner.weight_source()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_is_the_base_model_and_no_copy_of_it(kind: str) -> None:
    learner = trained(kl=KL, **KINDS[kind])

    assert learner.reference is not None
    assert torch.equal(logprobs(learner.reference), logprobs(Policy(bandit_model())))
    assert learner.state_dict()["reference"] is None
    after = logprobs(learner.policy)
    learner.update([varied()])
    assert not torch.equal(logprobs(learner.policy), after)  # it learns again after the adapter was off


@pytest.mark.parametrize("kind", KINDS)
def test_merged_weights_are_the_policy_for_a_sampler_that_takes_no_adapters(kind: str) -> None:
    learner, plain = trained(**KINDS[kind]), bandit_model(seed=1)

    sampler = TorchSampler(plain)
    asyncio.run(sampler.update_weights(learner.weight_source(merge=True), version=3))

    torch.testing.assert_close(logprobs(Policy(plain)), logprobs(learner.policy), atol=2e-5, rtol=1e-4)
    assert not sampler.takes_adapters
    assert learner.weight_source(merge=True).shapes()["lm_head.weight"] == ("float32", (23, 32))
    with pytest.raises(SamplerError, match=r"such as|merge=True"):
        asyncio.run(sampler.update_weights(learner.weight_source(), version=4))


def test_merging_leaves_the_learner_as_it_is() -> None:
    learner = trained()
    before = {name: tensor.clone() for name, tensor in learner.policy.module.state_dict().items()}

    dict(learner.weight_source(merge=True))

    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.policy.module.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_adapter_weights_bear_the_names_that_peft_saves(kind: str, tmp_path: Path) -> None:
    learner = trained(**KINDS[kind])
    source = learner.weight_source()
    expected = peft.get_peft_model_state_dict(learner.policy.module, save_embedding_layers=False)

    weights = dict(source)

    assert source.is_adapter
    assert weights.keys() == expected.keys() == source.shapes().keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights.items())
    assert json.loads(json.dumps(source.adapter_config))["r"] == 4  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_the_torch_sampler_samples_from_the_adapted_policy(kind: str) -> None:
    model = tiny_model()
    sampler = TorchSampler(model, max_batch=2)  # before there is an adapter, as in a run
    learner = learner_of(model=model, **KINDS[kind])
    with torch.no_grad():
        for name, tensor in learner.weight_source():
            if "lora_B" in name:
                tensor.normal_(generator=torch.Generator().manual_seed(0))

    async def sample() -> Any:
        await sampler.update_weights(learner.weight_source(), version=1)
        async with sampler.session(seed=0) as session:
            return await session.sample([1, 2, 3], SamplingParams(max_new_tokens=8))

    completion = asyncio.run(sample())

    assert sampler.takes_adapters
    expected = logprobs_by_definition(learner.policy.module, [1, 2, 3], completion.token_ids)
    assert completion.logprobs == pytest.approx(expected, abs=1e-4)
    assert expected != pytest.approx(logprobs_by_definition(tiny_model(), [1, 2, 3], completion.token_ids), abs=0.1)


def test_adapters_learn_the_bandit_and_the_penalty_holds_them_back() -> None:
    rng, reached = np.random.default_rng(0), []
    for kl in (None, KLConfig(coef=2.0, estimator="k3", placement="loss")):
        learner = learner_of(kl=kl)
        for _ in range(20):
            learner.update([bandit_rows(learner.policy.module, rng)])
        reached.append(float(log_probabilities(learner.policy.module)[18].exp()))

    assert reached[0] > 0.9
    assert reached[0] > reached[1] + 0.2


@pytest.mark.parametrize("agent", [GRPO(group_size=2), PPO()], ids=["grpo", "ppo"])
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_state_holds_the_adapter_alone_and_goes_on_to_the_same_bits(agent: Any, kind: str) -> None:
    settings = {**KINDS[kind], "critic": CriticConfig(kind="model")}
    whole = learner_of(agent, **settings)
    whole.update([varied()])
    state = copy.deepcopy(whole.state_dict())
    resumed = learner_of(agent, **settings)
    resumed.load_state_dict(state)

    for learner in (whole, resumed):
        learner.update([varied()])

    assert all("lora_" in name for name in state["model"])
    assert all("lora_" in name or name.startswith("head.") for name in state["critic"] or ())
    assert torch.equal(logprobs(whole.policy), logprobs(resumed.policy))


def test_a_critic_model_shares_the_base_and_has_an_adapter_of_its_own() -> None:
    learner = learner_of(PPO(), critic=CriticConfig(kind="model"))
    own = {id(one) for one in learner.critic.parameters() if one.requires_grad}  # type: ignore[union-attr]
    frozen = {id(one) for one in learner.critic.parameters() if not one.requires_grad}  # type: ignore[union-attr]
    policy = {id(one) for one in learner.policy.module.parameters()}

    assert frozen <= policy
    assert own
    assert not own & policy


def test_a_state_on_another_base_is_refused() -> None:
    state = learner_of().state_dict()

    with pytest.raises(CheckpointError, match="on another base model"):
        learner_of(model=bandit_model(seed=1)).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"parameter .*either in the checkpoint or learns now"):
        learner_of(target_modules=("q_proj",)).load_state_dict(state)


def test_the_seed_decides_what_an_adapter_begins_with_and_no_global_stream_is_touched() -> None:
    torch.manual_seed(5)
    policies = [add_adapter(Policy(bandit_model()), LoRAConfig(r=2), seed=seed).module for seed in (1, 1, 2)]

    first, again, other = (dict(policy.named_parameters()) for policy in policies)
    name = next(name for name in first if "lora_A" in name)
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"r": 0}, "r must be at least 1"),
        ({"lora_dropout": 0.05}, "samplers have no dropout"),
        ({"bias": "all"}, "would not be the one of the start"),
        ({"init_lora_weights": False}, "random change of the policy"),
    ],
)
def test_settings_that_would_mislead_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        LoRAConfig(**settings)


@pytest.mark.parametrize(
    ("targets", "problem"),
    [
        (("q_prj",), r"has none.*linear maps end in .*q_proj"),
        (("embed_tokens",), "an embedding of tokens"),
        (("lm_head",), "shares its weights with the embedding"),
        (r".*\.(embed_tokens|q_proj)", "an embedding of tokens"),
    ],
)
def test_targets_that_cannot_be_are_refused_before_anything_changes(targets: Any, problem: str) -> None:
    model = tiny_model(tie_word_embeddings=True)

    with pytest.raises(ConfigError, match=problem):
        learner_of(model=model, target_modules=targets)

    assert not any("lora" in name for name, _ in model.named_parameters())


def test_a_second_adapter_is_refused() -> None:
    with pytest.raises(ConfigError, match="has an adapter already"):
        learner_of(model=learner_of().policy.module)


def test_adapters_of_weights_in_bfloat16_are_float32_and_merge_with_one_rounding() -> None:
    learner = trained(model=bandit_model().bfloat16())

    assert {tensor.dtype for _, tensor in learner.weight_source()} == {torch.float32}
    merged = dict(learner.weight_source(merge=True))["model.layers.0.self_attn.q_proj.weight"]
    layer = learner.policy.module.get_base_model().model.layers[0].self_attn.q_proj  # type: ignore[operator]
    exact = layer.base_layer.weight.float() + layer.get_delta_weight("default")
    assert torch.equal(merged, exact.bfloat16())


def test_adapters_keep_no_wider_copies_for_the_backward_pass_than_training_all_weights_does() -> None:
    def kept(learner: Learner) -> int:
        storages: dict[int, Any] = {}  # alive, so that no address is used twice

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            learner.policy.action_outputs([trajectory("1 " + ".2 " * 200)], temperature=1.0)
        return sum(storage.nbytes() for storage in storages.values())

    adapters = kept(learner_of(model=bandit_model().bfloat16(), r=1))
    assert adapters < 1.05 * kept(Learner(bandit_model().bfloat16(), GRPO(group_size=2)))


def test_quantised_weights_take_no_adapter_into_themselves() -> None:
    module = learner_of().policy.module
    module.get_base_model().is_quantized = True  # type: ignore[operator]

    with pytest.raises(ConfigError, match="take no adapter into themselves"):
        FullWeights(module, merge=True)


# -- runs ----------------------------------------------------------------------------------------------------------

QUIET = RunProgress(quiet=True)
RUN: dict[str, Any] = {
    "env": "test/Digits-v0",
    "env_kwargs": {"stop_strings": [*string.digits, *string.ascii_lowercase]},
    "agent": {"name": "grpo", "group_size": 4},
    "model": {"tiny": {"hidden_size": 32, "num_layers": 1, "num_heads": 1}},
    "rollout": {"tasks_per_step": 4},
    "evaluation": {"every": 4, "num_tasks": 4},
    "trackers": [],
    "threads": 1,
    "steps": 3,
    "progress": QUIET,
}


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_run_leaves_an_adapter_and_its_base_that_peft_and_llmgym_load(tmp_path: Path, kind: str) -> None:
    import support.resume_run  # noqa: F401  it registers the environment
    import transformers

    learner = {"learning_rate": 3e-2, "lora": {"r": 4, **KINDS[kind]}}
    llmgym.train(**RUN, learner=learner, output=str(tmp_path / "run"))
    folder, ids = tmp_path / "moved", torch.arange(12)[None] + 20
    (tmp_path / "run").rename(folder)

    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "base")
    before = base(ids).logits
    after = peft.PeftModel.from_pretrained(base, folder / "model").eval()(ids).logits
    loaded = load_policy(folder / "model").module(ids).logits
    torch.testing.assert_close(loaded, after, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(after, before, atol=1e-3)
    assert llmgym.evaluate(str(folder / "model"), "test/Digits-v0", num_tasks=2).summary()["num_episodes"] == 2


def test_a_base_that_is_in_a_folder_already_is_named_and_not_written_again(tmp_path: Path) -> None:
    import support.resume_run  # noqa: F401

    llmgym.train(**RUN, output=str(tmp_path / "first"))
    settings = {**RUN, "model": {"path": str(tmp_path / "first" / "model")}, "learner": {"lora": {"r": 2}}}
    llmgym.train(**settings, output=str(tmp_path / "second"))
    settings["model"] = {"path": str(tmp_path / "second" / "model")}
    llmgym.train(**settings, output=str(tmp_path / "third"))

    named = [
        json.loads((tmp_path / name / "model" / "adapter_config.json").read_text())["base_model_name_or_path"]
        for name in ("second", "third")
    ]
    assert named == [str(tmp_path / "first" / "model"), str(tmp_path / "third" / "base")]  # the third began merged
    assert not (tmp_path / "second" / "base").exists()


def test_an_adapter_that_the_model_cannot_have_leaves_no_folder_behind(tmp_path: Path) -> None:
    import support.resume_run  # noqa: F401

    with pytest.raises(ConfigError, match="shares its weights"):
        llmgym.train(**RUN, learner={"lora": {"target_modules": ["lm_head"]}}, output=str(tmp_path / "run"))

    assert not (tmp_path / "run").exists()


def test_a_cold_start_trains_all_weights() -> None:
    from llmgym.training.cold_start import ColdStartConfig

    with pytest.raises(ConfigError, match="a cold start trains all weights"):
        ColdStartConfig(learner={"lora": {"r": 2}})


# -- weights in 4 bits -------------------------------------------------------------------------------------------


def quantised_run(folder: Path) -> dict[str, Any]:
    """Adapters on the model of a first run, in 4 bits."""
    import support.resume_run  # noqa: F401

    blocks_of_64 = {"hidden_size": 64, "num_layers": 1, "num_heads": 2, "intermediate_size": 128}
    llmgym.train(**RUN | {"steps": 0, "model": {"tiny": blocks_of_64}}, output=str(folder / "whole"))
    model = {"path": str(folder / "whole" / "model"), "quantization": "nf4", "device": "cpu"}
    return {**RUN, "model": model, "learner": {"learning_rate": 3e-2, "lora": {"r": 4}}}


def test_adapters_learn_on_weights_in_4_bits(tmp_path: Path, require: Any) -> None:
    require("bitsandbytes", find_spec("bitsandbytes"), "it is not installed")

    llmgym.train(**quantised_run(tmp_path), output=str(tmp_path / "run"))

    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["phase"] == "train"]
    assert all(row["num_optimizer_steps"] == 1 and row["mean_logprob_gap"] < 1e-3 for row in steps)
    state = next((tmp_path / "run" / "checkpoints" / "step-000003").glob("state-*.pt"))
    learned = torch.load(state, weights_only=True)["learner"]["model"]
    assert all("lora_" in name for name in learned)
    assert any(float(tensor.abs().max()) > 0 for name, tensor in learned.items() if "lora_B" in name)


def test_weights_in_4_bits_need_bitsandbytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = quantised_run(tmp_path)
    monkeypatch.setattr("llmgym.learning.loading.find_spec", lambda name: None)

    with pytest.raises(MissingExtraError, match=r"llmgym\[qlora\]"):
        llmgym.train(**settings, output=str(tmp_path / "run"))

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model": {"quantization": "nf4"}}, r"Name a model\.path"),
        ({"learner": {}}, r"set learner\.lora"),
        ({"cold_start": {}}, "no cold_start"),
        ({"sampler": "scripted"}, "would run other weights"),
    ],
)
def test_weights_in_4_bits_are_refused_where_they_would_have_to_learn(change: dict[str, Any], problem: str) -> None:
    settings = {**RUN, "model": {"path": "x/y", "quantization": "nf4"}, "learner": {"lora": {"r": 4}}, **change}

    with pytest.raises(ConfigError, match=problem):
        llmgym.train(**settings)
