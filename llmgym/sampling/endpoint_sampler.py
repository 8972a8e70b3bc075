"""Sampling from a server that speaks OpenAI's protocol: token ids where it gives them, chat messages otherwise."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError, SamplerError
from ..messages import AssistantMessage, Message, Tokenizer, ToolCall, whole_text
from .endpoint_client import EndpointClient, Reply, first_choice
from .params import SamplingParams
from .sampler import Completion, FinishReason, WeightSource, WrittenTurn

_PROBE = "The answer: 3 \u00d7 14 = 42."
_FINISH = {"length": FinishReason.LENGTH, "abort": FinishReason.ABORT}
_MAX_SEED = 2**31


@dataclass(frozen=True, kw_only=True)
class EndpointAbilities:
    """What a server can do, as far as it was asked."""

    model: str
    """The model that it is asked for."""
    gives_tokens: bool
    """Token ids in, token ids and log-probabilities out."""
    reason: str = ""
    """Why it gives none."""
    context_tokens: int | None = None
    """Prompt and answer together, where it says."""


class EndpointSampler:
    """Asks a server, for evaluation: its weights are its own, so nothing can be trained through it.

    Where the server gives token ids (vLLM does) and the tokenizer of its model is known, episodes are as exact as with
    any other sampler; its log-probabilities are those of the distribution that was sampled from at temperature 1, and
    at others where vLLM runs with `--logprobs-mode processed_logprobs`. Everywhere else episodes are played in chat
    messages, with the server's own template and tools, and their trajectories have no log-probabilities.

        sampler = EndpointSampler(url="http://localhost:8000/v1", tokenizer=load_tokenizer("Qwen/Qwen3-0.6B"))
        llmgym.evaluate(sampler, "llmgym/GSM8K-v0")

    Args:
        module: given by a run that trains, and refused.
        url: up to and with its version, for example "http://localhost:8000/v1".
        model: the name that the server knows; "" takes the only one that it serves.
        api_key_env: name of the environment variable that holds the key, where one is needed.
        tokenizer: that of the server's model; None: chat messages are all that is used.
        timeout_s: for one attempt at a turn.
        retries: further attempts where the server is busy, fails or cannot be reached.
        max_connections: turns under way at once.
        extra_body: further members of every request, such as {"chat_template_kwargs": {"enable_thinking": False}};
            None takes one out.
        num_tokens: not needed; a server knows its vocabulary.
        max_batch: not needed; a server makes its batches itself.

    Raises:
        ConfigError: a model came to be trained, or the address, key or a number is none.
        MissingExtraError: httpx is not installed.
    """

    sees_text = True

    def __init__(
        self,
        module: Any = None,
        *,
        url: str = "",
        model: str = "",
        api_key_env: str = "",
        tokenizer: Tokenizer | None = None,
        timeout_s: float = 600.0,
        retries: int = 5,
        max_connections: int = 256,
        extra_body: Mapping[str, Any] | None = None,
        num_tokens: int | None = None,  # noqa: ARG002
        max_batch: int | None = None,  # noqa: ARG002
    ) -> None:
        if module is not None:
            raise _no_training()
        self._client = EndpointClient(
            url, api_key_env=api_key_env, timeout_s=timeout_s, retries=retries, max_connections=max_connections
        )
        self.url = self._client.url
        self.tokenizer, self._model, self._extra = tokenizer, model, dict(extra_body or {})
        self.seconds = self._asking_since = 0.0
        self._num_asking = 0
        self._abilities: EndpointAbilities | None = None
        self._probing: asyncio.Task[EndpointAbilities] | None = None

    async def abilities(self) -> EndpointAbilities:
        """What the server can do; it is asked once.

        Raises:
            SamplerError: it gives no answer.
            ConfigError: it serves several models and none was named, or `tokenizer` is not its model's.
        """
        if self._abilities is None:
            if self._probing is None or self._probing.done():
                self._probing = asyncio.create_task(self._probe())
            # One who is cancelled does not take the answer from the others.
            self._abilities = await asyncio.shield(self._probing)
        return self._abilities

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[Any]:
        """One episode: a `Session` where the server gives token ids, else a `TextSession`."""
        async with self._client.connected():
            abilities = await self.abilities()
            yield (_TokenSession if abilities.gives_tokens else _ChatSession)(self, abilities, seed)

    async def complete(self, path: str, body: Mapping[str, Any], member: str) -> Mapping[str, Any]:
        """The one choice of a completion, which holds a `member`; cancelling hangs up, at which the server stops.

        Raises:
            SamplerError: the server gave none.
        """
        whole = {name: value for name, value in {**body, **self._extra}.items() if value is not None}
        self._num_asking += 1
        if self._num_asking == 1:
            self._asking_since = time.perf_counter()
        try:
            return first_choice(await self._client.post(path, whole), member)
        finally:
            self._num_asking -= 1
            if not self._num_asking:  # turns that are asked for at once take their time once
                self.seconds += time.perf_counter() - self._asking_since

    async def update_weights(self, source: WeightSource, *, version: int) -> None:  # noqa: ARG002
        """Refused.

        Raises:
            ConfigError: always; a server takes no weights.
        """
        raise _no_training()

    async def pause(self) -> None:
        """Nothing that is ours samples."""

    async def resume(self) -> None:
        """Nothing was paused."""

    async def sleep(self) -> None:
        """The memory is the server's."""

    async def wake(self) -> None:
        """The memory is the server's."""

    async def close(self) -> None:
        """Connections are closed with the last session that uses them."""

    # -- what the server can do --------------------------------------------------------------------------------

    async def _probe(self) -> EndpointAbilities:
        async with self._client.connected():
            listed = await self._client.request("/models")
            model, context_tokens = self._model_of(listed)
            reason = await self._why_no_tokens(model)
        return EndpointAbilities(model=model, gives_tokens=not reason, reason=reason, context_tokens=context_tokens)

    def _model_of(self, listed: Reply) -> tuple[str, int | None]:
        """The model that is asked for, and what its context holds."""
        entries = listed.data.get("data") if listed.is_fine and isinstance(listed.data, dict) else None
        lengths = {entry["id"]: entry.get("max_model_len") for entry in entries or () if isinstance(entry, dict)}
        if self._model:
            return self._model, lengths.get(self._model)
        if len(lengths) != 1:
            there = f"it serves {', '.join(map(repr, lengths))}" if lengths else f"it lists none ({listed.problem})"
            raise ConfigError(f"No model of the endpoint {self.url} was named, and {there}. Name one.")
        return next(iter(lengths.items()))

    async def _why_no_tokens(self, model: str) -> str:
        """Why the server cannot be asked in token ids; "" where it can."""
        if self.tokenizer is None:
            return "the tokenizer of its model was not given"
        ids = self.tokenizer.encode(_PROBE)
        asked = {"model": model, "max_tokens": 1, "return_token_ids": True}
        reply = await self._client.request("/completions", {**asked, "prompt": ids})
        if reply.status in (401, 403):
            raise SamplerError(f"The endpoint {self.url} refuses to answer: {reply.problem}. Check its key.")
        if not reply.is_fine:
            return f"asked for them, it answers {reply.problem}"
        if not isinstance(first_choice(reply.data, "text").get("token_ids"), list):
            return "asked for them, it answers with text alone"
        of_text = await self._client.request("/completions", {**asked, "prompt": _PROBE, "add_special_tokens": False})
        own_ids = first_choice(of_text.data, "text").get("prompt_token_ids") if of_text.is_fine else None
        if own_ids is not None and own_ids != ids:
            raise ConfigError(
                f"The tokenizer that was given is not that of the endpoint {self.url}: {_PROBE!r} is {ids} to "
                f"the one and {own_ids} to the other. Give the tokenizer of the model {model!r}."
            )
        return ""


class _TokenSession:
    """One episode in token ids. The server knows its prefix by its cache alone."""

    def __init__(self, sampler: EndpointSampler, abilities: EndpointAbilities, seed: int, num_turns: int = 0) -> None:
        self._sampler, self._abilities, self._seed, self._num_turns = sampler, abilities, seed, num_turns

    async def sample(self, prompt_ids: Sequence[int], params: SamplingParams) -> Completion:
        """What the server says to a prompt of ids."""
        room = self._abilities.context_tokens
        if room is not None and len(prompt_ids) + params.max_new_tokens > room:
            raise SamplerError(
                f"A prompt of {len(prompt_ids)} tokens and an answer of up to {params.max_new_tokens} do not fit the "
                f"{room} tokens that the endpoint's model {self._abilities.model!r} holds. Set limits.context_tokens "
                f"to {room} or less."
            )
        body = {
            "model": self._abilities.model,
            "prompt": list(map(int, prompt_ids)),
            "max_tokens": params.max_new_tokens,
            "seed": _seed(self._seed, self._num_turns),
            # All of them are told, for otherwise the model's own generation config decides.
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": params.top_k,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "stop": list(params.stop_strings),
            "include_stop_str_in_output": True,
            "stop_token_ids": list(params.stop_token_ids),
            "ignore_eos": True,  # which tokens end a turn, the environment says
            "logprobs": 0,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }
        self._num_turns += 1
        choice = await self._sampler.complete("/completions", body, "token_ids")
        ids, logprobs = choice["token_ids"], (choice.get("logprobs") or {}).get("token_logprobs") or []
        if len(logprobs) != len(ids):
            raise SamplerError(
                f"The endpoint gave {len(ids)} tokens with {len(logprobs)} log-probabilities. Is it a vLLM whose "
                "--max-logprobs is at least 0?"
            )
        reason = _FINISH.get(choice.get("finish_reason") or "", FinishReason.STOP)
        return Completion(tuple(ids), np.asarray(logprobs, np.float32), reason, np.zeros(len(ids), np.int32))

    def fork(self) -> "_TokenSession":
        """The same episode once more, from here, with a random stream of its own."""
        return _TokenSession(self._sampler, self._abilities, _seed(self._seed, -1), self._num_turns)


class _ChatSession:
    """One episode in chat messages."""

    def __init__(self, sampler: EndpointSampler, abilities: EndpointAbilities, seed: int) -> None:
        self._sampler, self._abilities, self._seed, self._num_turns = sampler, abilities, seed, 0

    async def write(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], params: SamplingParams
    ) -> WrittenTurn:
        """What the server says to a conversation."""
        body = {
            "model": self._abilities.model,
            "messages": [_as_openai(message) for message in messages],
            "tools": list(tools) or None,
            "max_tokens": params.max_new_tokens,
            "seed": _seed(self._seed, self._num_turns),
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": params.top_k or None,  # vLLM's; others do not know it
            "stop": list(params.stop_strings) or None,
        }
        self._num_turns += 1
        choice = await self._sampler.complete("/chat/completions", body, "message")
        message = choice["message"]
        return WrittenTurn(
            text=str(message.get("content") or ""),
            tool_calls=tuple(map(_call_of, message.get("tool_calls") or ())),
            is_cut=choice.get("finish_reason") == "length",
        )


def _as_openai(message: Message) -> dict[str, Any]:
    """A message as the protocol has it; calls and answers to them are told as such."""
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if isinstance(message, AssistantMessage):
        if not message.tool_calls:
            return told | {"content": whole_text(message)}
        told["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in message.tool_calls
        ]
    elif message.tool_call_id is not None:
        told["tool_call_id"] = message.tool_call_id
    elif message.role == "tool":
        told["role"] = "user"  # the protocol has no answer of a tool that was not called
    return told


def _call_of(call: Mapping[str, Any]) -> ToolCall | str:
    """A call that the server read; its text where its arguments are no JSON object."""
    try:
        name, written = call["function"]["name"], call["function"]["arguments"]
        arguments = json.loads(written)
        if isinstance(arguments, dict):
            return ToolCall(name, arguments)
    except (LookupError, TypeError, ValueError):
        pass
    return json.dumps(call.get("function"))


def _seed(*parts: int) -> int:
    """A seed that every server takes, from that of an episode and the number of a turn."""
    return int(np.random.SeedSequence([part % 2**64 for part in parts]).generate_state(1)[0]) % _MAX_SEED


def _no_training() -> ConfigError:
    return ConfigError(
        "An endpoint cannot be trained through: what is learned never reaches the server, which goes on "
        'sampling with its own weights. Train with the sampler "torch" or "vllm", and measure an endpoint with '
        "llmgym.evaluate or `llmgym eval --endpoint`."
    )
