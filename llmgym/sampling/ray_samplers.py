"""Samplers as Ray actors, which are one sampler to whoever samples."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from ..errors import ConfigError
from ..messages import Tokenizer
from ..registry import SAMPLERS
from ..settings import one_config, require_keywords
from .ray_cluster import ActorLost, ByValuePickler, Member, RayCluster
from .ray_config import RayConfig
from .ray_fleet import Fleet
from .remote_session import RemoteSession
from .sampler import WeightSource
from .sampler_host import HostSpec, SamplerHost
from .shared_weights import PackedWeights, WeightUpdate, all_weights, packed, skeleton

_SHARE_OF_IMBALANCE = 4
"""A group stays with one sampler, for its prompt is computed once there, until that has so much more to do than the
least busy one: an equal share of all episodes, divided by this."""
_OPPOSITES = {"sleep": "wake", "pause": "resume"}


class RaySamplers:
    """N actors, each with a sampler of its own that has the whole model.

    A session stays at one actor. Where that is lost, another takes its place with the newest weights, and sessions that
    were open at it fail with `ActorLost`: their episodes have to be played again.

    Args:
        module: the learner's model, or None for samplers that need none; each actor gets a copy.
        num_tokens: as for the sampler in the actors.
        max_batch: rows sampled at once, by all of them together.
        tokenizer: as for the sampler in the actors.
        config: the settings; or they are given as keywords, see `RayConfig`.

    Raises:
        ConfigError: a setting is wrong, there is no cluster at the address, or it has no room.
        UnknownSamplerError: no sampler is registered under the name of the inner one.
    """

    def __init__(
        self,
        module: Any,
        *,
        num_tokens: int | None = None,
        max_batch: int = 64,
        tokenizer: Tokenizer | None = None,
        config: RayConfig | None = None,
        **settings: Any,
    ) -> None:
        self.config = config = one_config(RayConfig, config, settings, where="sampler")
        if config.sampler == "ray":
            raise ConfigError('sampler.sampler is "ray" itself. Name what samples in the actors, such as "torch".')
        self._commands = dict.fromkeys(("pause", "sleep"), False)
        """What samplers were told, and those that replace them are."""
        self._weights: list[tuple[WeightUpdate, list[Any]]] = []
        """The newest, each with references to its chunks: all, an adapter, or all and an adapter on top of them."""
        self._known: dict[str, _State] = {}
        """What each sampler was told last, by name."""
        self.slack = max_batch // (_SHARE_OF_IMBALANCE * config.num_samplers)
        decided = {
            "num_tokens": num_tokens,
            "max_batch": -(-max_batch // config.num_samplers) + self.slack,
            "tokenizer": tokenizer,
        }
        is_name = isinstance(config.sampler, str)
        self._factory = SAMPLERS.entry(config.sampler) if is_name else config.sampler
        self._settings = {**decided, **(config.settings or {})}
        factory = SAMPLERS.lookup(config.sampler) if is_name else config.sampler
        require_keywords(partial(factory, module), self._settings, where="sampler.settings")
        weights = all_weights(module) if module is not None else PackedWeights(())
        self.cluster = RayCluster(config, weights_bytes=sum(chunk.num_bytes for chunk in weights.chunks))
        self._skeleton = skeleton(module, ByValuePickler) if module is not None else None
        self._first = [self.cluster.put(chunk) for chunk in weights.chunks]
        self.fleet = Fleet(
            self.cluster,
            SamplerHost,
            "sampler",
            range(config.num_samplers),
            self._start_args,
            on_loss=self._known.__delitem__,
            catch_up=self._catch_up,
        )
        self.seconds = 0.0
        """Time that samplers spent on producing tokens, as they last told; of several at once, the sum."""
        self._told: dict[str, tuple[float, Mapping[str, int]]] = {}
        """`seconds` and `counts` of each sampler, lost ones too."""
        self._numbers = count()
        self._description: Mapping[str, bool] | None = None

    @property
    def num_lost(self) -> int:
        """Sampler actors that were lost and replaced."""
        return self.fleet.num_lost

    @property
    def counts(self) -> Mapping[str, int]:
        """What was lost and made good so far, by metric, as the samplers last told."""
        counts = Counter[str]({"num_lost_samplers": self.num_lost})
        for _, told in self._told.values():
            counts.update(told)
        return counts

    @property
    def sees_text(self) -> bool:
        """Whether turns can be asked to end at stop strings."""
        return self.description["sees_text"]

    @property
    def takes_adapters(self) -> bool:
        """Whether an adapter alone can be their new weights."""
        return self.description["takes_adapters"]

    @property
    def description(self) -> Mapping[str, bool]:
        """What the actors' samplers are; waits until they are there."""
        if self._description is None:
            self.fleet.wait()
            description: Mapping[str, bool] = self.cluster.get(self.fleet.started()[0].started)
            self._description = description
        return self._description

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[RemoteSession]:
        """A place for one episode, at the sampler that is least busy."""
        host = min(await self.fleet.running(), key=self.fleet.load)
        with self.fleet.busy(host):
            session = RemoteSession(host, ("learner", next(self._numbers)), seed, self._numbers)
            try:
                yield session
            except ActorLost as loss:
                self.fleet.replace(host, loss)
                raise
            finally:
                session.end()

    async def choose(self, home: Member | None) -> Member:
        """The sampler for another episode: `home`, where its group is, unless others are much less busy."""
        running = await self.fleet.running()
        least = min(running, key=self.fleet.load)
        if home in running and self.fleet.load(home) <= self.fleet.load(least) + self.slack:
            return home
        return least

    async def update_weights(self, source: WeightSource, *, version: int) -> None:
        """Put the weights into the object store, once, and have all samplers take them from there.

        A sampler that is still on its way, perhaps since a node was lost, takes the newest when it comes.
        """
        chunks = [self.cluster.put(chunk) for chunk in packed(source)]
        config = dict(getattr(source, "adapter_config", {})) if source.is_adapter else None
        config = config and json.loads(json.dumps(config, default=sorted))  # it may hold classes of peft's, and sets
        update = WeightUpdate(version=version, adapter_config=config, num_chunks=len(chunks))
        former = self._weights  # kept there until nobody can be reading it any more
        below = [part for part in former if part[0].adapter_config is None] if source.is_adapter else []
        self._weights = [*below, (update, chunks)]
        await self._tell((update,), (), *chunks)
        del former

    async def measure(self) -> None:
        """Ask the samplers for their `seconds` and `counts`."""
        members = self.fleet.started()
        for member, told in zip(members, await self._all(members, "figures"), strict=True):
            if told is not None:
                self._told[member.name] = told
        self.seconds = sum(seconds for seconds, _ in self._told.values())

    async def pause(self) -> None:
        """Sample no further token until `resume`."""
        self._commands["pause"] = True
        await self._tell((), ("pause",))

    async def resume(self) -> None:
        """Go on after `pause`."""
        self._commands["pause"] = False
        await self._tell((), ("resume",))

    async def sleep(self) -> None:
        """Give the accelerators' memory back until `wake`."""
        self._commands["sleep"] = True
        await self._tell((), ("sleep",))

    async def wake(self) -> None:
        """Take the memory again after `sleep`."""
        self._commands["sleep"] = False
        await self._tell((), ("wake",))

    async def close(self) -> None:
        """End the actors, and Ray where it was started here. Calling it twice is harmless."""
        self.shut_down()

    def shut_down(self) -> None:
        """As `close`, without an event loop."""
        self.fleet.close()
        self.cluster.close()

    async def _tell(self, updates: Sequence[WeightUpdate], commands: Sequence[str], *chunks: Any) -> None:
        """Tell the samplers that are there; the others hear of it when they are."""
        members, now = self.fleet.started(), self._state
        self._known.update((member.name, now) for member in members)
        await self._all(members, "tell", updates, commands, *chunks)

    async def _all(self, members: Sequence[Member], method: str, *args: Any) -> list[Any]:
        """What samplers answer; None from one that is lost, whose successor is told how things stand."""

        async def ask(member: Member) -> Any:
            try:
                return await member.call(method, *args)
            except ActorLost as loss:
                self.fleet.replace(member, loss)
                return None

        return await asyncio.gather(*map(ask, members))

    @property
    def _state(self) -> "_State":
        return _State([update for update, _ in self._weights], dict(self._commands))

    def _start_args(self, name: str) -> Sequence[Any]:
        self._known[name] = self._state
        spec = HostSpec(
            factory=self._factory,
            settings=self._settings,
            skeleton=self._skeleton,
            moves_model=self.config.sampler == "torch" and self.config.sampler_gpus > 0,
            num_first_chunks=len(self._first),
            updates=self._state.updates,
            commands=[command for command, is_given in self._commands.items() if is_given],
        )
        return (spec, *self._first, *(chunk for _, chunks in self._weights for chunk in chunks))

    def _catch_up(self, member: Member) -> bool:
        """Tell one that has started what the others were told since its start was asked for; True: it has to do."""
        known, now = self._known[member.name], self._state
        if known == now:
            return False
        self._known[member.name] = now
        weights = [part for part in self._weights if part[0] not in known.updates]
        changed = [command for command in _OPPOSITES if known.commands[command] != now.commands[command]]
        commands = [_OPPOSITES[command] for command in changed if not now.commands[command]]
        commands += [command for command in changed if now.commands[command]]  # to wake is to go on, too
        updates = [update for update, _ in weights]
        member.begin("tell", updates, commands, *(chunk for _, chunks in weights for chunk in chunks))
        return True


@dataclass(frozen=True)
class _State:
    """What samplers were told."""

    updates: Sequence[WeightUpdate]
    """Those of the newest weights."""
    commands: Mapping[str, bool]
