"""Asking a language model in messages: what a judge needs of a sampler or of a server."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence

from ..messages import Chat, Message, Tokenizer, chat_for, end_ids_of, turn_style
from .endpoint_client import EndpointClient, first_choice
from .params import SamplingParams
from .sampler import Sampler


def ask_sampler(
    sampler: Sampler, tokenizer: Tokenizer, *, params: SamplingParams | None = None, seed: int = 0
) -> Callable[[Sequence[Message]], Awaitable[str]]:
    """A function that asks a sampler's model, and gives what it says behind its reasoning.

    Args:
        sampler: not the one that the policy learns with, whose weights change.
        tokenizer: that of its model, with a chat form.
        params: how it answers; greedy in up to 1,024 tokens by default.
        seed: with the text of a question it decides the random stream of the answer, whatever was asked before.
    """
    chat: Chat = chat_for(tokenizer)
    parser = turn_style(tokenizer).parser("auto", "auto", (), tokenizer)
    params = params or SamplingParams(temperature=0.0, stop_token_ids=tuple(sorted(end_ids_of(tokenizer))))

    async def ask(messages: Sequence[Message]) -> str:
        async with sampler.session(seed=_seed_of(messages, seed)) as session:
            prompt_ids = chat.render(messages)
            completion = await session.sample(prompt_ids, params)
        is_thinking = parser.opens_thinking(prompt_ids, len(prompt_ids))
        return parser.parse(completion.token_ids, is_thinking=is_thinking).content

    return ask


def ask_endpoint(
    url: str,
    *,
    model: str,
    api_key: str = "",
    temperature: float = 0.0,
    max_tokens: int = 1024,
    timeout_s: float = 60.0,
    retries: int = 3,
) -> Callable[[Sequence[Message]], Awaitable[str]]:
    """A function that asks a server which speaks OpenAI's chat protocol.

    Args:
        url: up to and with its version, for example "http://localhost:8000/v1".
        model: the name that the server knows.
        api_key: sent as a bearer token, where given.
        temperature: of sampling.
        max_tokens: of an answer.
        timeout_s: for one attempt.
        retries: further attempts where the server is busy, fails or cannot be reached, after 1, 2, 4, ... seconds.

    Raises (on asking):
        SamplerError: the server gave no answer.
        MissingExtraError: httpx is not installed.
    """
    client = EndpointClient(url, api_key=api_key, timeout_s=timeout_s, retries=retries)

    async def ask(messages: Sequence[Message]) -> str:
        body = {
            "model": model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "temperature": temperature,
            "max_tokens": max_tokens,
        }
        choice = first_choice(await client.post("/chat/completions", body), "message")
        return str(choice["message"].get("content") or "")

    return ask


def _seed_of(messages: Sequence[Message], seed: int) -> int:
    text = repr((seed, [(message.role, message.content) for message in messages]))
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
