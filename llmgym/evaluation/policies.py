"""What can be measured: models, samplers, and functions from messages to text, each playing planned episodes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from inspect import isawaitable, iscoroutinefunction
from pathlib import Path
from typing import Any, Protocol, cast

from ..episode import TokenEnv
from ..episode.waiting import run_to_end
from ..errors import ConfigError, InfrastructureError, InvalidAction, SamplerError
from ..extras import require
from ..messages import Message, load_tokenizer, whole_text
from ..registry import SAMPLERS
from ..rollout import Collector, EnvPool, EpisodePlan, OnEpisode, make_collector
from ..sampling import EndpointSampler, Sampler, SamplingParams, WrittenTurn, make_sampler
from ..threads import DaemonThreads

TextPolicy = Callable[[Sequence[Mapping[str, str]]], str | Awaitable[str]]
"""From the conversation so far, as role and content, to the policy's next message; it may be asynchronous."""


_END_BYTES = 2**20


class Player(Protocol):
    """A policy in an environment."""

    env: TokenEnv
    """Of the policy, to ask for its tasks and rewards."""
    identity: Mapping[str, str]
    """What tells this policy from others, as far as that can be told without running it."""

    def play(self, plans: Sequence[EpisodePlan], sampling: SamplingParams, on_episode: OnEpisode) -> None:
        """Run planned episodes; each is handed over as it ends.

        Raises:
            SamplerError: the sampler failed.
        """


@contextmanager
def opened(
    policy: str | Path | Sampler | TextPolicy,
    env: str,
    *,
    tokenizer: Any = None,
    env_kwargs: Mapping[str, Any] | None = None,
    concurrency: int = 64,
    sampler: str | Mapping[str, Any] = "torch",
) -> Iterator[Player]:
    """A policy in an environment of its own, which is closed behind it.

    Args:
        policy: a model folder or id, the address of an endpoint, a sampler, or any function from messages to text.
        env: id of the environment.
        tokenizer: that of a sampler's model; a model folder brings its own, and an endpoint can do without.
        env_kwargs: further keywords for `gym.make`.
        concurrency: episodes under way at once; a function that is not asynchronous plays one after the other.
        sampler: of a model folder, as in a run file: its name, or a mapping of `name` and its settings.

    Raises:
        ConfigError: `policy` is none of these, or a sampler came without its tokenizer.
        SamplerError: an endpoint does not answer.
    """
    own: Sampler | None = None
    identity: Mapping[str, str] = {"sampler": type(policy).__qualname__}
    if isinstance(policy, str) and policy.startswith(("http://", "https://")):
        policy = EndpointSampler(url=policy, tokenizer=None if tokenizer is None else load_tokenizer(tokenizer))
    elif isinstance(policy, (str, Path)):
        folder = Path(policy)
        name = str(folder.resolve()) if folder.is_dir() else str(policy)
        identity = {"model": name, "model_digest": folder_digest(folder)}
        own = policy = _sampler_of(policy, sampler, max_batch=concurrency)
    is_function = not hasattr(policy, "session")
    if is_function and not callable(policy):
        raise ConfigError(
            f"{type(policy).__name__} is not a policy. Pass a model folder or id, the address of an endpoint, a "
            "sampler, or a function that takes messages and returns text."
        )
    is_endpoint = isinstance(policy, EndpointSampler)
    thread = DaemonThreads(1)
    if is_function:
        identity = {"function": getattr(policy, "__qualname__", type(policy).__qualname__)}
        concurrency = concurrency if iscoroutinefunction(policy) else 1
        policy = cast(Sampler, _FunctionSampler(cast(TextPolicy, policy), thread))
    elif tokenizer is None:
        tokenizer = getattr(policy, "tokenizer", None)
        if tokenizer is None and not is_endpoint:
            raise ConfigError("A sampler was given without the tokenizer of its model. Pass tokenizer=... too.")
    if isinstance(policy, EndpointSampler):
        abilities = run_to_end(policy.abilities())
        identity = {"endpoint": policy.url, "model": abilities.model}
    collector = make_collector(
        [EnvPool(env, tokenizer="bytes" if tokenizer is None else tokenizer, env_kwargs=env_kwargs)],
        cast(Sampler, policy),
        concurrency=concurrency,
        deterministic=not is_endpoint,  # no batch of a server's is the same twice
    )
    try:
        yield (_FunctionPlayer if is_function else _SamplerPlayer)(collector, identity)
    finally:
        collector.close()
        thread.close()
        if own is not None:
            run_to_end(own.close())


def _sampler_of(model: str | Path, sampler: str | Mapping[str, Any], *, max_batch: int) -> Sampler:
    """The sampler of a model folder or id; its `tokenizer` is the model's."""
    require("torch", extra="train", purpose="Evaluating a model folder")
    from ..learning import load_with_tokenizer
    from ..learning.lora import is_adapter_folder

    settings = {"name": sampler} if isinstance(sampler, str) else dict(sampler)
    name = settings.pop("name", "torch")
    if getattr(SAMPLERS.lookup(name), "loads_models", False) and not is_adapter_folder(model):
        return make_sampler(name, settings, str(model), max_batch=max_batch, tokenizer=load_tokenizer(str(model)))
    loaded, tokenizer = load_with_tokenizer(model)
    return make_sampler(name, settings, loaded.module, max_batch=max_batch, tokenizer=tokenizer)


class _SamplerPlayer:
    def __init__(self, collector: Collector, identity: Mapping[str, str]) -> None:
        self.env, self.identity, self._collector = collector.example_env, identity, collector

    def play(self, plans: Sequence[EpisodePlan], sampling: SamplingParams, on_episode: OnEpisode) -> None:
        run_to_end(self._collector.run(plans, sampling, on_episode=on_episode))


class _FunctionPlayer(_SamplerPlayer):
    def play(self, plans: Sequence[EpisodePlan], sampling: SamplingParams, on_episode: OnEpisode) -> None:
        super().play(plans, sampling, lambda trajectory: on_episode(replace(trajectory, sampling=None)))


class _FunctionSampler:
    """A function as what the collector asks; it decides itself how it draws its words.

    One that is not asynchronous is called in a thread, always the same, so that it may do whatever blocks.
    """

    def __init__(self, policy: TextPolicy, thread: DaemonThreads) -> None:
        self._policy, self._thread = policy, thread

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator["_FunctionSampler"]:  # noqa: ARG002
        yield self

    async def write(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],  # noqa: ARG002
        params: SamplingParams,  # noqa: ARG002
    ) -> WrittenTurn:
        seen = [{"role": message.role, "content": whole_text(message)} for message in messages]
        try:
            said = await self._thread.run(partial(self._policy, seen))
            text = await said if isawaitable(said) else said
        except InfrastructureError as error:  # of the policy; the environment's would be a verdict on its own episode
            raise SamplerError(f"The policy failed: {error}") from error
        if not isinstance(text, str):
            raise InvalidAction(f"The policy said {text!r:.100} of type {type(text).__name__}, but a turn takes a str.")
        return WrittenTurn(text)


def folder_digest(folder: Path) -> str:
    """16 hexadecimal digits that change with the files of a model folder; "" for what is no folder.

    Of each file its name, its size and its two ends are read, so that large weights take no time.
    """
    if not folder.is_dir():
        return ""
    digest = blake2b(digest_size=8)
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_END_BYTES))
            file.seek(max(0, size - _END_BYTES))
            digest.update(file.read(_END_BYTES))
    return digest.hexdigest()
