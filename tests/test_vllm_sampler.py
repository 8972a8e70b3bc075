"""vLLM itself, on a CPU with a tiny model: tokens, seeds, the prefix cache, endings, deaths and what is left behind."""

import asyncio
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from support.sampling import sample_all
from support.tiny_vllm import NUM_TOKENS, teach, tiny_vllm_model

import llmgym
from llmgym.learning import Policy
from llmgym.learning.model import ModelWeights
from llmgym.messages import ByteTokenizer
from llmgym.sampling import FinishReason, SamplingParams, ScriptedSampler
from llmgym.sampling.distribution import processed_logits
from llmgym.sampling.vllm import VLLMSampler
from llmgym.sampling.vllm.channel import members
from llmgym.sampling.vllm.engines import EngineDied

pytestmark = pytest.mark.slow

PROMPTS = [[5, 6, 7], [8], [5, 6, 7], list(range(40)), [5, 6], list(range(100, 180))]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_vllm_model(num_padding=6)


@pytest.fixture(scope="module")
def sampler(require: Any, model: Any) -> Iterator[VLLMSampler]:
    """One engine for all tests of this file: it takes seconds to start."""
    require("vllm", find_spec("vllm"), "vLLM is not installed")
    made = VLLMSampler(
        model,
        num_tokens=NUM_TOKENS,
        tokenizer=ByteTokenizer(),
        max_model_len=512,
        colocated=True,  # which means nothing on a CPU
        environment=ONE_THREAD,
    )
    yield made
    asyncio.run(made.close())


def logits_of(model: Any, prompt: list[int], ids: Any) -> torch.Tensor:
    """Of each token of a completion, padding of the vocabulary left out."""
    with torch.no_grad():
        output = model(torch.tensor([[*prompt, *ids]]), use_cache=False)
    return output.logits[0, len(prompt) - 1 : -1, :NUM_TOKENS]


@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
def test_logprobs_equal_our_own_forward_pass_without_the_padding_of_the_vocabulary(sampler, model, temperature):
    params = SamplingParams(max_new_tokens=24, temperature=temperature)

    completions = sample_all(sampler, PROMPTS, params)

    for prompt, completion in zip(PROMPTS, completions, strict=True):
        logits = logits_of(model, prompt, completion.token_ids)
        expected = (logits / (temperature or 1.0)).log_softmax(-1)
        sampled = torch.tensor(completion.token_ids)
        assert int(sampled.max()) < NUM_TOKENS
        assert completion.logprobs == pytest.approx(expected.gather(-1, sampled[:, None])[:, 0].numpy(), abs=1e-5)
        if temperature == 0:
            assert torch.equal(sampled, logits.argmax(-1))


def test_a_seed_gives_the_same_tokens_alone_and_in_a_batch_and_others_other_ones(sampler):
    params = SamplingParams(max_new_tokens=20)

    together = sample_all(sampler, PROMPTS, params)
    alone = sample_all(sampler, PROMPTS[:1], params)

    assert alone[0].token_ids == together[0].token_ids
    assert together[0].token_ids != together[2].token_ids  # one prompt, two seeds
    assert {completion.finish_reason for completion in together} == {FinishReason.LENGTH}


def test_more_prompt_tokens_than_one_pass_takes_change_no_token(sampler):
    """vLLM computes prompts in parts there, for which it cannot keep the random streams of a CPU."""
    prompts = [[(7 * index + place) % 256 for place in range(480)] for index in range(20)]
    params = SamplingParams(max_new_tokens=12)

    together = sample_all(sampler, prompts, params)
    asyncio.run(sampler._engine.reset_prefix_cache())
    alone = [sample_all(sampler, prompts[: index + 1], params)[index] for index in (0, 9)]

    assert [each.token_ids for each in alone] == [together[index].token_ids for index in (0, 9)]


def test_a_stop_token_ends_the_turn_and_is_part_of_it(sampler):
    free = sample_all(sampler, PROMPTS, SamplingParams(max_new_tokens=20))[0].token_ids

    stopped = sample_all(sampler, PROMPTS, SamplingParams(max_new_tokens=20, stop_token_ids=(free[7],)))[0]

    assert stopped.finish_reason is FinishReason.STOP
    assert stopped.token_ids == free[: free.index(free[7]) + 1]


@pytest.mark.parametrize(("top_p", "top_k"), [(0.8, 0), (1.0, 5), (0.7, 12), (0.9, 1000)])
def test_the_tokens_that_were_kept_are_those_of_the_definition(sampler, model, top_p, top_k):
    params = SamplingParams(max_new_tokens=16, top_p=top_p, top_k=top_k, temperature=0.8)

    (completion,) = sample_all(sampler, PROMPTS[3:4], params)

    logits = logits_of(model, PROMPTS[3], completion.token_ids)
    rows = torch.ones(len(logits))
    expected = processed_logits(logits, rows * 0.8, rows.long() * top_k, rows * top_p)
    for row, kept in zip(expected, completion.kept_tokens.rows(), strict=True):
        assert kept.tolist() == row.isfinite().nonzero()[:, 0].tolist()
    sampled = torch.tensor(completion.token_ids)
    own = expected.log_softmax(-1).gather(-1, sampled[:, None])[:, 0]
    assert completion.logprobs == pytest.approx(own.numpy(), abs=1e-5)


def test_the_next_turn_finds_the_blocks_of_the_last_one_in_the_cache(sampler):
    async def episode() -> list[int]:
        found, ids = [], [*range(200, 240)]
        async with sampler.session(seed=3) as session:
            for _ in range(3):
                before = sampler.num_cached_tokens
                completion = await session.sample(ids, SamplingParams(max_new_tokens=30))
                found.append(sampler.num_cached_tokens - before)
                ids = [*ids, *completion.token_ids, 1, 2, 3]
        return found

    assert asyncio.run(episode()) == [0, 64, 96]  # of 40, 73 and 106 tokens, in blocks of 32


def test_a_cancelled_turn_is_aborted_at_once(sampler):
    async def cancel() -> list[int]:
        async with sampler.session(seed=0) as session:
            turn = asyncio.create_task(session.sample([1, 2], SamplingParams(max_new_tokens=500)))
            await asyncio.sleep(0)  # the turn is asked for, and nothing is said before the pause
            await sampler.pause()
            counts = [await sampler._engine.num_unfinished()]
            turn.cancel()
            await asyncio.gather(turn, return_exceptions=True)
            await sampler.resume()
            return [*counts, await sampler._engine.num_unfinished()]

    assert asyncio.run(cancel()) == [1, 0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_turns_that_an_event_loop_left_behind_are_taken_out_in_the_next(sampler):
    async def leave() -> None:
        async with sampler.session(seed=0) as session:
            left.append(asyncio.create_task(session.sample([1, 2], SamplingParams(max_new_tokens=500))))
            await asyncio.sleep(0.05)

    left: list[asyncio.Task[Any]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()  # nobody cancelled the task

    assert not left[0].done()
    assert asyncio.run(sampler._engine.num_unfinished()) == 0


def test_a_paused_engine_samples_nothing_and_goes_on_where_it_was(sampler):
    params = SamplingParams(max_new_tokens=300)
    (expected,) = sample_all(sampler, PROMPTS[:1], params)

    async def interrupted() -> Any:
        async with sampler.session(seed=0) as session:
            turn, done = asyncio.create_task(session.sample(PROMPTS[0], params)), []
            await asyncio.sleep(0)
            while not turn.done():
                await sampler.sleep()  # on a CPU as good as `pause`
                await asyncio.sleep(0)
                was_done = turn.done()
                await asyncio.sleep(0.1)
                done.append((was_done, turn.done()))
                await sampler.wake()
                await asyncio.sleep(0.05)
            return done, await turn

    done, completion = asyncio.run(interrupted())
    assert done[0] == (False, False)
    assert all(before == after for before, after in done)
    assert completion.token_ids == expected.token_ids


def test_episodes_of_several_turns_with_a_tool_run_at_once_and_carry_the_learner_s_logprobs(sampler):
    setting = {"env_kwargs": {"limits": {"turns": 3, "turn_tokens": 24, "context_tokens": 500}}}
    call = [*b"<call>37*81</call>", ByteTokenizer.eos_id]
    calls = llmgym.collect("llmgym/Calculator-v0", ScriptedSampler(lambda *_: call), num_tasks=6, **setting)
    taught = tiny_vllm_model(num_padding=6, initializer_range=0.05)
    teach(taught, calls)
    asyncio.run(sampler.update_weights(ModelWeights(taught), version=7))

    trajectories = llmgym.collect("llmgym/Calculator-v0", sampler, num_tasks=16, group_size=4, **setting)

    with torch.no_grad():
        own_BA = Policy(taught, num_tokens=NUM_TOKENS).action_outputs(trajectories, temperature=1.0).logprobs_BA
    assert len(trajectories) == 64
    assert sum(len(trajectory.turns) for trajectory in trajectories) > 128
    for trajectory, own_A in zip(trajectories, own_BA, strict=True):
        said = [each.sampling_logprobs[each.action_mask] for each in trajectory.segments]
        assert np.concatenate(said) == pytest.approx(own_A[: sum(map(len, said))].numpy(), abs=5e-5)  # it is quite sure
        assert {int(v) for each in trajectory.segments for v in each.weight_version[each.action_mask]} == {7}


def test_llmgym_evaluates_it(sampler):
    evaluation = llmgym.evaluate(sampler, "llmgym/Copy-v0", num_tasks=3, num_samples=2)

    assert [trajectory.is_valid for trajectory in evaluation.trajectories] == [True] * 6


def test_a_killed_engine_is_started_again_and_the_lost_turns_are_sampled_again(sampler):
    params = SamplingParams(max_new_tokens=200)
    expected = sample_all(sampler, PROMPTS, params)

    async def with_death() -> Any:
        async def one(seed: int) -> Any:
            async with sampler.session(seed=seed) as session:
                return await session.sample(PROMPTS[seed], params)

        turns = [asyncio.create_task(one(seed)) for seed in range(len(PROMPTS))]
        await asyncio.sleep(0)
        await sampler._engine.pause()  # with all of them under way
        os.kill(sampler._engine.pid, signal.SIGKILL)
        return await asyncio.gather(*turns)

    again = asyncio.run(with_death())

    assert [completion.token_ids for completion in again] == [completion.token_ids for completion in expected]
    assert (sampler.num_restarts, sampler.num_resampled) == (1, len(PROMPTS))


def test_a_message_that_the_engine_s_process_cannot_read_ends_it_instead_of_leaving_it_behind(sampler):
    async def say() -> None:
        sampler._engine._channel.sendall(struct.pack(">Q", 5) + b"xxxxx")
        await sampler._engine.num_unfinished()

    with pytest.raises(EngineDied, match="UnpicklingError"):
        asyncio.run(say())


SCRIPT = """
import asyncio, os, signal, sys
from llmgym.errors import SamplerError
from llmgym.sampling import SamplingParams
from llmgym.sampling.vllm import VLLMSampler

before = dict(os.environ)
settings = {"engine": "async", "max_restarts": 0, "environment": {"OMP_NUM_THREADS": "1"}}
sampler = VLLMSampler(sys.argv[1], max_model_len=1024, **settings)
engine = sampler._engine

async def turn():
    async with sampler.session(seed=1) as session:
        return (await session.sample([1, 2, 3], SamplingParams(max_new_tokens=900))).token_ids

async def with_hang():
    (worker,) = [pid for pid in engine.pids() if "Worker" in open(f"/proc/{pid}/cmdline").read()]
    engine._silence_timeout_s = 4.0  # only now, as one that lives may say nothing for so long on a slow machine
    lost = asyncio.create_task(turn())
    await asyncio.sleep(0.1)
    os.kill(worker, signal.SIGSTOP)
    try:
        await lost
    except SamplerError as error:
        assert "said nothing for 4 seconds" in str(error), error

assert len(asyncio.run(turn())) == 900
asyncio.run(with_hang())
assert engine.death
assert dict(os.environ) == before
assert "vllm" not in sys.modules
print(engine.pid, file=sys.stderr)
"""


def test_a_script_without_a_guard_may_use_the_asynchronous_engine_and_its_stdout_stays_its_own(require, tmp_path):
    require("vllm", find_spec("vllm"), "vLLM is not installed")
    tiny_vllm_model().save_pretrained(str(tmp_path / "model"))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "model")], capture_output=True, text=True, timeout=600
    )

    assert ended.returncode == 0, ended.stderr[-2000:]
    *errors, group = ended.stderr.split()
    assert (ended.stdout, errors) == ("", [])
    assert members(int(group)) == []  # the script did not close the sampler
