"""New weights in vLLM itself, on a CPU with a tiny model: each trap of its CPU build, adapters, and a dead engine."""

import asyncio
import os
import signal
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_vllm import NUM_TOKENS, plain_load, tiny_vllm_model

from llmgym.errors import SamplerError
from llmgym.learning import Policy
from llmgym.learning.lora import AdapterWeights, FullWeights, LoRAConfig, add_adapter
from llmgym.learning.model import ModelWeights
from llmgym.sampling import SamplingParams
from llmgym.sampling.vllm import VLLMSampler

pytestmark = pytest.mark.slow

PROMPT = [int(i) % NUM_TOKENS for i in range(7, 107)]
KINDS = {"untied": ("in_process", False, 0), "tied": ("async", True, 0), "lora": ("in_process", True, 8)}
"""Engine, tied head and rank of adapters of the three engines that all tests share: each takes seconds to start."""


@pytest.fixture(scope="module")
def samplers(require):
    require("vllm", find_spec("vllm"), "vLLM is not installed")
    made = {}

    def sampler(kind):
        engine, tied, rank = KINDS[kind]
        if kind not in made:
            made[kind] = VLLMSampler(
                tiny_vllm_model(tied=tied),
                num_tokens=NUM_TOKENS,
                engine=engine,
                lora_rank=rank,
                max_model_len=1024,
                kv_cache_memory_bytes=64 << 20,
                environment={"OMP_NUM_THREADS": "1"},
            )
        return made[kind]

    yield sampler
    for each in made.values():
        asyncio.run(each.close())


def logprobs_of(model, ids):
    """Log-probabilities of all tokens after each position, padding of the vocabulary left out."""
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0, :, :NUM_TOKENS].log_softmax(-1)


async def greedy(sampler, num_tokens=16):
    async with sampler.session(seed=0) as session:
        return await session.sample(PROMPT, SamplingParams(max_new_tokens=num_tokens, temperature=0))


def assert_samples(completion, model, version):
    """Each token is the likeliest of the model, given those before it, at the model's own log-probability."""
    ids = list(completion.token_ids)
    best = logprobs_of(model, PROMPT + ids)[len(PROMPT) - 1 : -1].max(-1)
    assert ids == best.indices.tolist()
    assert completion.logprobs == pytest.approx(best.values.numpy(), abs=1e-5)
    assert completion.weight_version.tolist() == [version] * len(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_after_each_update_vllm_is_the_learners_policy_up_to_rounding(samplers, kind):
    sampler = samplers(kind)

    for version in (1, 2):
        model = tiny_vllm_model(seed=version, tied=KINDS[kind][1])
        asyncio.run(sampler.update_weights(ModelWeights(model), version=version))

        assert_samples(asyncio.run(greedy(sampler)), model, version)


@pytest.mark.parametrize("kind", ["untied", "tied"])
def test_a_prompt_that_was_cached_before_the_update_is_answered_by_the_new_policy(samplers, kind):
    sampler, model = samplers(kind), tiny_vllm_model(seed=3, tied=KINDS[kind][1])

    async def cached(version):
        before = sampler.num_cached_tokens
        completion = await greedy(sampler)
        return sampler.num_cached_tokens - before, completion

    asyncio.run(cached(2))
    assert asyncio.run(cached(2))[0] == 96  # of 100 tokens, as blocks are of 32 and not, as vLLM would have it, of 128
    asyncio.run(sampler.update_weights(ModelWeights(model), version=3))
    num_cached, completion = asyncio.run(cached(3))

    assert num_cached == 0
    assert_samples(completion, model, 3)


@pytest.mark.parametrize("kind", ["untied", "tied"])
def test_turns_under_way_go_on_with_the_new_weights_and_say_which_token_has_which(samplers, kind):
    sampler = samplers(kind)
    models = [tiny_vllm_model(seed=seed, tied=KINDS[kind][1]) for seed in range(3)]
    versions_sent, done = [4], {seed: [] for seed in range(4)}

    async def turns(seed):
        while len(versions_sent) < 6 or not done[seed]:
            async with sampler.session(seed=seed) as session:
                done[seed].append(await session.sample(PROMPT, SamplingParams(max_new_tokens=200)))

    async def main():
        await sampler.update_weights(ModelWeights(models[4 % 3]), version=4)
        tasks = [asyncio.create_task(turns(seed)) for seed in done]
        while len(versions_sent) < 6 or not all(done.values()):  # on any machine some fall within turns
            versions_sent.append(versions_sent[-1] + 1)
            await sampler.update_weights(ModelWeights(models[versions_sent[-1] % 3]), version=versions_sent[-1])
            await asyncio.sleep(2 * sampler._weights.cost.seconds)
        await asyncio.gather(*tasks)

    asyncio.run(main())

    completions = [completion for of_seed in done.values() for completion in of_seed]
    assert any(len(set(completion.weight_version.tolist())) > 1 for completion in completions)
    for completion in completions:
        ids, versions = list(completion.token_ids), completion.weight_version
        assert len(ids) == 200
        assert sorted(versions) == versions.tolist()
        for version in set(versions.tolist()):
            logprobs = logprobs_of(models[version % 3], PROMPT + ids)[len(PROMPT) - 1 : -1]
            own = logprobs.gather(-1, torch.tensor(ids)[:, None])[:, 0].numpy()
            assert completion.logprobs[versions == version] == pytest.approx(own[versions == version], abs=1e-4)


def test_a_plain_load_of_weights_fails_on_a_cpu_where_our_update_works(samplers, tmp_path):
    sampler, model = samplers("untied"), tiny_vllm_model(seed=5)
    save_file(model.state_dict(), tmp_path / "weights")

    with pytest.raises(SamplerError, match=r"Attempted to load weight|weight_loader"):
        asyncio.run(sampler._engine.collective_rpc(plain_load, path=str(tmp_path / "weights")))
    asyncio.run(sampler.update_weights(ModelWeights(model), version=500))

    assert_samples(asyncio.run(greedy(sampler)), model, 500)
    assert sampler.num_restarts == 0


def test_weights_that_do_not_fit_change_nothing(samplers):
    sampler, model = samplers("untied"), tiny_vllm_model(seed=6)
    asyncio.run(sampler.update_weights(ModelWeights(model), version=501))

    with pytest.raises(SamplerError, match="do not fit the model"):
        asyncio.run(sampler.update_weights(ModelWeights(tiny_vllm_model(num_hidden_layers=1)), version=502))

    assert_samples(asyncio.run(greedy(sampler)), model, 501)


def policy_with_adapter(seed):
    """On random weights, an adapter that changes them."""
    policy = add_adapter(Policy(tiny_vllm_model(seed=7, tied=True)), LoRAConfig(r=8), seed=0)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in policy.module.named_parameters():
            if ".lora_B." in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return policy


def test_each_newer_adapter_takes_the_place_of_the_older_and_comes_back_with_its_base_after_a_death(samplers):
    sampler = samplers("lora")
    asyncio.run(sampler.update_weights(FullWeights(policy_with_adapter(0).module, merge=False), version=10))

    for version in (11, 12):
        policy = policy_with_adapter(version)
        asyncio.run(sampler.update_weights(AdapterWeights(policy.module), version=version))
        assert_samples(asyncio.run(greedy(sampler)), policy.module, version)

    os.kill(sampler._engine.pid, signal.SIGKILL)
    assert_samples(asyncio.run(greedy(sampler)), policy.module, 12)
    assert sampler.num_restarts == 1
