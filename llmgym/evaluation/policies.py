"""What can be measured: models, samplers, and functions from messages to text, each playing planned episodes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, cast

from ..episode import TokenEnv, Trajectory
from ..episode.register import make_token_env
from ..episode.waiting import run_to_end
from ..errors import ConfigError, InfrastructureError
from ..extras import require
from ..messages import whole_text
from ..rollout import Collector, EpisodePlan
from ..sampling import Sampler, SamplingParams

TextPolicy = Callable[[Sequence[Mapping[str, str]]], str]
"""From the conversation so far, as role and content, to the policy's next message."""

OnEpisode = Callable[[Trajectory], None]

_END_BYTES = 2**20


class Player(Protocol):
    """A policy in an environment."""

    env: TokenEnv
    """Of the policy, to ask for its tasks and rewards."""
    identity: Mapping[str, str]
    """What tells this policy from others, as far as that can be told without running it."""

    def play(self, plans: Sequence[EpisodePlan], sampling: SamplingParams, split: str, on_episode: OnEpisode) -> None:
        """Run planned episodes on tasks of a split; each is handed over as it ends.

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
) -> Iterator[Player]:
    """A policy in an environment of its own, which is closed behind it.

    Args:
        policy: a model folder or id, a sampler, or any function from messages to text.
        env: id of the environment.
        tokenizer: that of a sampler's model; a model folder brings its own.
        env_kwargs: further keywords for `gym.make`.
        concurrency: episodes of a model or sampler under way at once.

    Raises:
        ConfigError: `policy` is none of these, or a sampler came without its tokenizer.
    """
    identity = {"sampler": type(policy).__qualname__}
    if isinstance(policy, (str, Path)):
        require("torch", extra="train", purpose="Evaluating a model folder")
        from ..learning import load_with_tokenizer
        from ..sampling.torch_sampler import TorchSampler

        folder = Path(policy)
        name = str(folder.resolve()) if folder.is_dir() else str(policy)
        identity = {"model": name, "model_digest": folder_digest(folder)}
        loaded, tokenizer = load_with_tokenizer(policy)
        policy = TorchSampler(loaded.module, num_tokens=loaded.num_tokens, max_batch=concurrency, tokenizer=tokenizer)
    if hasattr(policy, "session"):
        if tokenizer is None:
            raise ConfigError("A sampler was given without the tokenizer of its model. Pass tokenizer=... too.")
        sampler = cast(Sampler, policy)
        collector = Collector(env, sampler, tokenizer=tokenizer, env_kwargs=env_kwargs, concurrency=concurrency)
        try:
            yield _SamplerPlayer(collector, identity)
        finally:
            collector.close()
        return
    if not callable(policy):
        raise ConfigError(
            f"{type(policy).__name__} is not a policy. Pass a model folder or id, a sampler, or a function that takes "
            "messages and returns text."
        )
    kwargs = {**(env_kwargs or {}), **({} if tokenizer is None else {"tokenizer": tokenizer})}
    text_env = make_token_env(env, view="text", **kwargs)
    try:
        yield _TextPlayer(policy, text_env)
    finally:
        text_env.close()


class _SamplerPlayer:
    def __init__(self, collector: Collector, identity: Mapping[str, str]) -> None:
        self.env, self.identity, self._collector = collector.example_env, identity, collector

    def play(
        self,
        plans: Sequence[EpisodePlan],
        sampling: SamplingParams,
        split: str,  # noqa: ARG002  the plans hold the tasks themselves
        on_episode: OnEpisode,
    ) -> None:
        run_to_end(self._collector.run(plans, sampling, on_episode=on_episode))


class _TextPlayer:
    """One episode after the other; the function decides itself how it draws its words."""

    def __init__(self, policy: TextPolicy, env: TokenEnv, *, retries: int = 1) -> None:
        self.env, self._policy, self._retries = env, policy, retries
        self.identity: Mapping[str, str] = {"function": getattr(policy, "__qualname__", type(policy).__qualname__)}

    def play(
        self,
        plans: Sequence[EpisodePlan],
        sampling: SamplingParams,  # noqa: ARG002
        split: str,
        on_episode: OnEpisode,
    ) -> None:
        for plan in plans:
            trajectory = self._episode(plan, split)
            on_episode(replace(trajectory, group_id=plan.group_id, sample_index=plan.sample_index))

    def _episode(self, plan: EpisodePlan, split: str) -> Trajectory:
        env = self.env
        for _ in range(1 + self._retries):
            try:
                env.reset(seed=plan.seed, options={"task": plan.task.key, "split": split})
                while not env.episode.is_over:
                    messages = [
                        {"role": message.role, "content": whole_text(message)} for message in env.episode.messages
                    ]
                    env.step(self._policy(messages))
                break
            except InfrastructureError:
                continue  # the trajectory says so: it is not valid
        return env.trajectory()


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
