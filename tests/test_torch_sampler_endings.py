"""Where turns of the torch sampler end, and that environments see the same episodes for it."""

import time
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from support.sampling import sample_all
from transformers import LlamaConfig, LlamaForCausalLM

import llmgym
from llmgym.episode import EnvResponse
from llmgym.errors import ConfigError, SamplerError
from llmgym.rollout import collect
from llmgym.sampling import FinishReason, SamplingParams
from llmgym.sampling.torch_sampler import TorchSampler
from llmgym.scoring import Score

BYTES = llmgym.ByteTokenizer()
STOPS = ("ab", "c", "é")


def byte_model() -> LlamaForCausalLM:
    """Says little but a, b, c, the two bytes of an é, and the end of the turn."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=BYTES.vocab_size, initializer_range=0.4, **sizes)).eval()
    model.lm_head = torch.nn.Linear(32, BYTES.vocab_size)
    model.lm_head.bias.data[[*BYTES.encode("abé"), *BYTES.encode("abé"), BYTES.eos_id]] = 14.0
    model.lm_head.bias.data[BYTES.encode("c")[0]] = 12.0
    return model


def test_a_turn_ends_with_the_token_that_completes_a_stop_string() -> None:
    sampler = TorchSampler(byte_model(), tokenizer=BYTES)
    params = SamplingParams(max_new_tokens=40, stop_strings=STOPS)

    stopped = sample_all(sampler, [[65, 66]] * 20, params)
    unstopped = sample_all(sampler, [[65, 66]] * 20, SamplingParams(max_new_tokens=40))

    endings = set()
    for completion, longer in zip(stopped, unstopped, strict=True):
        text, before = BYTES.decode(completion.token_ids), BYTES.decode(completion.token_ids[:-1])
        assert completion.finish_reason is FinishReason.STOP
        assert not any(stop in before for stop in STOPS)
        assert completion.token_ids == longer.token_ids[: len(completion.token_ids)]
        endings |= {stop for stop in STOPS if text.endswith(stop)}
    assert endings == {*STOPS}


def test_any_of_several_stop_tokens_ends_a_turn_and_is_part_of_it() -> None:
    sampler, stops = TorchSampler(byte_model()), (BYTES.eos_id, *BYTES.encode("c"))

    completions = sample_all(sampler, [[65, 66]] * 30, SamplingParams(max_new_tokens=40, stop_token_ids=stops))

    stopped = [one for one in completions if one.finish_reason is FinishReason.STOP]
    assert {one.token_ids[-1] for one in stopped} == {*stops}
    assert not any({*one.token_ids[:-1]} & {*stops} for one in completions)


def test_stop_strings_without_a_tokenizer_are_refused() -> None:
    with pytest.raises(SamplerError, match=r"sees no text.*tokenizer=\.\.\."):
        sample_all(TorchSampler(byte_model()), [[5]], SamplingParams(stop_strings=("x",)))


@pytest.mark.parametrize("stops", ["END", ("END", "")])
def test_stop_strings_that_would_end_every_turn_at_once_are_refused(stops: Any) -> None:
    with pytest.raises(ConfigError, match="none of them empty"):
        SamplingParams(stop_strings=stops)


class UnhurriedEnv(llmgym.MessageEnv):
    """Three turns; answers at once, or after a while that is different each time."""

    delays: np.random.Generator | None = None
    prefill = "so a"

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{split}{n}", prompt="x" * (1 + 3 * n)) for n in range(8)])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        self.turns = 0
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),), prefill=self.prefill)

    def step(self, message: llmgym.AssistantMessage) -> EnvResponse:
        if self.delays is not None:
            time.sleep(self.delays.random() / 100)
        self.turns += 1
        more = (llmgym.Message("user", "go on"),)
        is_over = self.turns == 3
        return EnvResponse(score=Score(reward=1.0), terminated=is_over, messages=() if is_over else more)


llmgym.register_env("test-endings/Unhurried-v0", UnhurriedEnv)

episodes = partial(
    collect,
    "test-endings/Unhurried-v0",
    num_tasks=6,
    group_size=2,
    env_kwargs={"stop_strings": STOPS, "limits": {"turn_tokens": 20}},
    tokenizer=BYTES,
)


def test_episodes_are_the_same_whether_the_sampler_sees_stop_strings_or_the_environment_alone() -> None:
    sees, does_not = TorchSampler(byte_model(), tokenizer=BYTES), TorchSampler(byte_model())

    seen, unseen = episodes(sampler=sees), episodes(sampler=does_not)

    assert sees.num_sampled_tokens < does_not.num_sampled_tokens
    for one, other in zip(seen, unseen, strict=True):
        assert [turn.message for turn in one.turns] == [turn.message for turn in other.turns]
        assert one.segments[0].token_ids.tolist() == other.segments[0].token_ids.tolist()
        assert one.segments[0].sampling_logprobs == pytest.approx(other.segments[0].sampling_logprobs, abs=1e-4)


def test_episodes_are_the_same_to_the_last_bit_however_long_the_environment_takes(monkeypatch: Any) -> None:
    runs = []
    for delays in (None, np.random.default_rng(0), np.random.default_rng(1)):
        monkeypatch.setattr(UnhurriedEnv, "delays", delays)
        runs.append(episodes(sampler=TorchSampler(byte_model(), max_batch=5), concurrency=7, deterministic=True))

    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            assert first.segments[0].token_ids.tobytes() == second.segments[0].token_ids.tobytes()
            assert first.segments[0].sampling_logprobs.tobytes() == second.segments[0].sampling_logprobs.tobytes()
