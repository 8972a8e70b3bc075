"""The torch sampler: tokens and log-probabilities are the model's own, whatever runs beside them."""

import asyncio
from typing import Any

import pytest
import torch
from support.sampling import logprobs_by_definition, sample_all
from transformers import LlamaConfig, LlamaForCausalLM

from llmgym.errors import ConfigError, SamplerError
from llmgym.sampling import Completion, FinishReason, SamplingParams
from llmgym.sampling.torch_sampler import TorchSampler

SIZES = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}


def tiny_model(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.4}
    return LlamaForCausalLM(LlamaConfig(**SIZES, **heads, **changes)).eval()


PROMPTS = [[5, 6, 7], [8], [5, 6, 7], [9, 10, 11, 12, 13, 14, 15], [5, 6], [5, 6, 7]]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_equal_a_forward_pass_over_the_whole_sequence(temperature: float) -> None:
    model = tiny_model()

    params = SamplingParams(max_new_tokens=20, temperature=temperature, stop_token_ids=(1,))
    completions = sample_all(TorchSampler(model), PROMPTS, params)

    for prompt, completion in zip(PROMPTS, completions, strict=True):
        expected = logprobs_by_definition(model, prompt, completion.token_ids, temperature)
        assert completion.logprobs == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("max_batch", [1, 2, 64])
def test_tokens_do_not_depend_on_what_is_sampled_beside_them(max_batch: int) -> None:
    model, params = tiny_model(), SamplingParams(max_new_tokens=15, stop_token_ids=(1,))

    together = sample_all(TorchSampler(model, max_batch=max_batch), PROMPTS, params)
    again = sample_all(TorchSampler(model), PROMPTS[::-1], params)

    assert {len(completion.token_ids) for completion in together} != {15}  # some rows leave early
    by_seed = [c.token_ids for c in sample_all(TorchSampler(model), PROMPTS, params)]
    assert [completion.token_ids for completion in together] == by_seed
    assert again[1].token_ids != together[1].token_ids  # another prompt under the same seed


def test_greedy_tokens_are_the_likeliest_and_say_so_at_temperature_one() -> None:
    model = tiny_model()

    (completion,) = sample_all(TorchSampler(model), [[3, 4]], SamplingParams(max_new_tokens=8, temperature=0))

    ids = [3, 4]
    for token in completion.token_ids:
        assert token == int(model(torch.tensor([ids])).logits[0, -1].argmax())
        ids.append(token)
    assert completion.logprobs == pytest.approx(logprobs_by_definition(model, [3, 4], completion.token_ids), abs=1e-5)
    assert completion.finish_reason is FinishReason.LENGTH


def test_turns_go_on_without_computing_the_past_again() -> None:
    model = tiny_model()
    sampler = TorchSampler(model)
    params = SamplingParams(max_new_tokens=6)

    async def episode() -> list[tuple[list[int], Completion]]:
        turns, ids = [], [5, 6, 7, 8]
        async with sampler.session(seed=0) as session:
            for _ in range(3):
                completion = await session.sample(ids, params)
                turns.append((ids, completion))
                ids = [*ids, *completion.token_ids, 2, 3]
        return turns

    turns = asyncio.run(episode())

    # The last sampled token of a turn is not in the cache yet, so each later turn adds it and the two new ones.
    assert sampler.num_prompt_tokens == 4 + 3 + 3
    for prompt, completion in turns:
        expected = logprobs_by_definition(model, prompt, completion.token_ids)
        assert completion.logprobs == pytest.approx(expected, abs=1e-5)


def test_a_prompt_that_replaces_what_the_session_held_is_right_too() -> None:
    model, params = tiny_model(), SamplingParams(max_new_tokens=5)
    sampler = TorchSampler(model)

    async def episode() -> Completion:
        async with sampler.session(seed=0) as session:
            await session.sample([5, 6, 7, 8, 9], params)
            return await session.sample([5, 6, 20, 21], params)

    completion = asyncio.run(episode())

    expected = logprobs_by_definition(model, [5, 6, 20, 21], completion.token_ids)
    assert completion.logprobs == pytest.approx(expected, abs=1e-5)


def test_equal_first_prompts_are_computed_once() -> None:
    sampler = TorchSampler(tiny_model())

    completions = sample_all(sampler, [[5, 6, 7, 8]] * 8, SamplingParams(max_new_tokens=6))

    assert sampler.num_prompt_tokens == 4
    assert len({completion.token_ids for completion in completions}) > 1


def test_sessions_beyond_the_batch_wait_and_idle_ones_give_their_place_away() -> None:
    model, params = tiny_model(), SamplingParams(max_new_tokens=4)
    sampler = TorchSampler(model, max_batch=2)

    async def episode(seed: int) -> tuple[list[int], Completion]:
        ids = [5, 6, 7]
        async with sampler.session(seed=seed) as session:
            first = await session.sample(ids, params)
            await asyncio.sleep(0.001 * seed)  # a tool, while others take the place
            ids = [*ids, *first.token_ids, 2]
            return ids, await session.sample(ids, params)

    async def everything() -> list[tuple[list[int], Completion]]:
        return await asyncio.gather(*(episode(seed) for seed in range(7)))

    for prompt, completion in asyncio.run(everything()):
        expected = logprobs_by_definition(model, prompt, completion.token_ids)
        assert completion.logprobs == pytest.approx(expected, abs=1e-5)


def test_a_fork_continues_the_same_tokens_with_randomness_of_its_own() -> None:
    model, params = tiny_model(), SamplingParams(max_new_tokens=12)
    sampler = TorchSampler(model)

    async def episode() -> list[tuple[int, ...]]:
        async with sampler.session(seed=0) as session:
            first = await session.sample([5, 6], params)
            prompt = [5, 6, *first.token_ids]
            forks = [session.fork(), session.fork()]
            return [(await one.sample(prompt, params)).token_ids for one in (session, *forks)]

    continued = asyncio.run(episode())

    assert len(set(continued)) == 3
    assert asyncio.run(episode()) == continued


def test_new_weights_are_used_and_nothing_of_the_old_cache_is() -> None:
    model, newer, params = tiny_model(0), tiny_model(1), SamplingParams(max_new_tokens=5)
    sampler = TorchSampler(model)

    async def episode() -> Completion:
        async with sampler.session(seed=0) as session:
            first = await session.sample([5, 6, 7], params)
            await sampler.update_weights(newer.state_dict().items(), version=3)  # type: ignore[arg-type]
            return await session.sample([5, 6, 7, *first.token_ids], params)

    first = sample_all(TorchSampler(tiny_model(0)), [[5, 6, 7]], params)[0]
    completion = asyncio.run(episode())

    expected = logprobs_by_definition(newer, [5, 6, 7, *first.token_ids], completion.token_ids)
    assert completion.logprobs == pytest.approx(expected, abs=1e-5)
    assert set(completion.weight_version.tolist()) == {3}


def test_padding_of_the_vocabulary_is_never_sampled() -> None:
    sampler = TorchSampler(tiny_model(), num_tokens=4)

    completions = sample_all(sampler, [[1, 2]] * 20, SamplingParams(max_new_tokens=20))

    assert {token for completion in completions for token in completion.token_ids} == {0, 1, 2, 3}


def test_a_cancelled_turn_leaves_the_others_alone() -> None:
    sampler = TorchSampler(tiny_model(), max_batch=2)

    async def main() -> Completion:
        async with sampler.session(seed=0) as given_up, sampler.session(seed=1) as kept:
            task = asyncio.create_task(given_up.sample([5], SamplingParams(max_new_tokens=500)))
            other = asyncio.create_task(kept.sample([6], SamplingParams(max_new_tokens=30)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            return await other

    assert len(asyncio.run(main()).token_ids) == 30


def test_a_failing_model_is_an_error_for_everybody_who_waits() -> None:
    model = tiny_model()
    sampler = TorchSampler(model)
    model.lm_head.forward = lambda hidden: 1 / 0  # type: ignore[method-assign,assignment]

    with pytest.raises(SamplerError, match="ZeroDivisionError"):
        sample_all(sampler, PROMPTS, SamplingParams(max_new_tokens=3))


def test_a_closed_sampler_and_an_empty_prompt_are_refused() -> None:
    sampler = TorchSampler(tiny_model())

    with pytest.raises(SamplerError, match="prompt is empty"):
        sample_all(sampler, [[]], SamplingParams())
    asyncio.run(sampler.close())
    asyncio.run(sampler.close())
    with pytest.raises(SamplerError, match="closed"):
        sample_all(sampler, [[1]], SamplingParams())


def test_kept_tokens_are_reported_with_logprobs_of_what_is_left() -> None:
    model, params = tiny_model(), SamplingParams(max_new_tokens=10, top_k=3)

    (completion,) = sample_all(TorchSampler(model), [[5, 6]], params)

    assert completion.kept_tokens is not None
    ids = [5, 6]
    for token, logprob, kept in zip(
        completion.token_ids, completion.logprobs, completion.kept_tokens.rows(), strict=True
    ):
        logits = model(torch.tensor([ids])).logits[0, -1].detach()
        assert set(kept.tolist()) == set(logits.topk(3).indices.tolist())
        assert logprob == pytest.approx(float(logits[token] - logits.topk(3).values.logsumexp(-1)), abs=1e-5)
        ids.append(token)


async def _until_sampled(sampler: TorchSampler, num_tokens: int) -> None:
    while sampler.num_sampled_tokens < num_tokens:
        await asyncio.sleep(0)


def test_a_turn_goes_on_with_weights_that_change_in_the_middle_of_it() -> None:
    model, older, newer = tiny_model(0), tiny_model(0), tiny_model(1)
    sampler = TorchSampler(model)

    async def episode() -> Completion:
        async with sampler.session(seed=0) as session:
            turn = asyncio.create_task(session.sample([5, 6, 7], SamplingParams(max_new_tokens=20)))
            await _until_sampled(sampler, 8)
            await sampler.update_weights(newer.state_dict().items(), version=1)  # type: ignore[arg-type]
            return await turn

    completion = asyncio.run(episode())

    assert completion.weight_version.tolist() == [0] * 8 + [1] * 12
    before, after = (logprobs_by_definition(m, [5, 6, 7], completion.token_ids) for m in (older, newer))
    assert completion.logprobs == pytest.approx([*before[:8], *after[8:]], abs=1e-5)


def test_a_turn_goes_on_after_sleep_with_what_it_had() -> None:
    sampler = TorchSampler(tiny_model())

    async def episode() -> tuple[int, int, Completion]:
        async with sampler.session(seed=0) as session:
            turn = asyncio.create_task(session.sample([5, 6, 7], SamplingParams(max_new_tokens=20)))
            await _until_sampled(sampler, 8)
            await sampler.sleep()
            asleep = sampler.num_sampled_tokens
            for _ in range(5):
                await asyncio.sleep(0)
            still_asleep = sampler.num_sampled_tokens
            await sampler.wake()
            return asleep, still_asleep, await turn

    asleep, still_asleep, completion = asyncio.run(episode())

    assert asleep == still_asleep == 8
    expected = logprobs_by_definition(sampler.model, [5, 6, 7], completion.token_ids)
    assert completion.logprobs == pytest.approx(expected, abs=1e-5)


def test_turns_go_on_after_new_weights_though_an_older_session_waits_for_a_place() -> None:
    sampler, params = TorchSampler(tiny_model(), max_batch=1), SamplingParams(max_new_tokens=6)

    async def main() -> list[Completion]:
        async with sampler.session(seed=0) as older, sampler.session(seed=1) as younger:
            first = asyncio.create_task(younger.sample([5, 6], params))
            await _until_sampled(sampler, 2)
            second = asyncio.create_task(older.sample([7, 8], params))
            await asyncio.sleep(0)
            await sampler.update_weights({}.items(), version=1)  # type: ignore[arg-type]
            return await asyncio.wait_for(asyncio.gather(first, second), timeout=30)

    assert [len(completion.token_ids) for completion in asyncio.run(main())] == [6, 6]


def test_weights_of_another_shape_are_refused_and_not_broadcast() -> None:
    sampler, name = TorchSampler(tiny_model()), "model.norm.weight"

    with pytest.raises(SamplerError, match=r"model\.norm\.weight.*shape \(1,\)"):
        asyncio.run(sampler.update_weights({name: torch.ones(1)}.items(), version=1))  # type: ignore[arg-type]


def test_a_sampler_serves_a_second_event_loop_where_the_first_was_left_in_the_middle_of_a_turn() -> None:
    sampler, first = TorchSampler(tiny_model()), asyncio.new_event_loop()

    async def leave() -> Any:
        turn = asyncio.create_task(sampler.open(0).sample([5, 6], SamplingParams(max_new_tokens=500)))
        await _until_sampled(sampler, 3)
        return turn

    left = first.run_until_complete(leave())
    (completion,) = sample_all(sampler, [[7, 8]], SamplingParams(max_new_tokens=3))

    assert len(completion.token_ids) == 3
    left.cancel()
    first.run_until_complete(asyncio.wait([left]))
    first.close()


def test_an_engine_that_is_cancelled_tells_those_who_wait() -> None:
    sampler = TorchSampler(tiny_model())

    async def main() -> None:
        turn = asyncio.create_task(sampler.open(0).sample([5, 6], SamplingParams(max_new_tokens=500)))
        await _until_sampled(sampler, 3)
        for task in asyncio.all_tasks() - {turn, asyncio.current_task()}:
            task.cancel()
        await asyncio.wait_for(turn, timeout=10)

    with pytest.raises(SamplerError, match="CancelledError"):
        asyncio.run(main())


def test_logits_that_are_not_numbers_are_an_error_and_no_tokens() -> None:
    model = tiny_model()
    sampler = TorchSampler(model)
    model.lm_head.weight.data[7] = torch.nan

    with pytest.raises(SamplerError, match="not finite"):
        sample_all(sampler, [[5, 6]], SamplingParams(max_new_tokens=3, temperature=0))


def test_a_temperature_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="temperature is nan"):
        SamplingParams(temperature=float("nan"))
