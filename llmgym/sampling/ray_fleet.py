"""Actors of one class, each replaced where it is lost."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import SamplerError
from .ray_cluster import ActorLost, Member, RayActor, RayCluster

_log = logging.getLogger(__name__)

_PATIENCE_S = 10.0
"""So long an actor may be without a place before that is told: Ray takes some seconds to notice what was lost."""


class Fleet:
    """Actors of one class, each replaced where it is lost. It belongs to no event loop.

    Args:
        cluster: where they run.
        cls: see `RayCluster.start`.
        kind: what one of them is called.
        bundles: their places in the placement group.
        args: makes the arguments of `start` for each that is started, from its name.
        on_loss: hears the name of each that is lost.
        catch_up: brings one that has started up to what the others were told meanwhile: has it begin with
            `Member.begin`, or answers that there is nothing.
    """

    def __init__(
        self,
        cluster: RayCluster,
        cls: type[RayActor],
        kind: str,
        bundles: range,
        args: Callable[[str], Sequence[Any]],
        on_loss: Callable[[str], None] = lambda name: None,  # noqa: ARG005
        catch_up: Callable[[Member], bool] = lambda member: False,  # noqa: ARG005
    ) -> None:
        self._cluster, self._cls, self._kind, self._args, self._on_loss = cluster, cls, kind, args, on_loss
        self._bundles, self._catch_up = bundles, catch_up
        self.num_lost = 0
        """Actors that were lost and replaced."""
        self._num_made = 0
        self._failed_starts = [0] * len(bundles)
        self._running: set[str] = set()
        """Names of those that answered to `start`, and know what the others do."""
        self._warn_at: dict[str, float] = {}
        """When it is to be told that one has no place, by name of those of which it was not told."""
        self.loads: dict[str, int] = {}
        """Episodes under way by name."""
        self.members = [self._make(index) for index in range(len(bundles))]
        """All, with those that are starting."""

    def wait(self) -> None:
        """Until all are there.

        Raises:
            ConfigError, SamplerError: one cannot be started.
        """
        deadline = time.monotonic() + self._cluster.config.start_timeout_s
        while len(self.started()) < len(self.members):
            self._require_time(deadline)
            time.sleep(0.02)

    async def running(self) -> list[Member]:
        """Those that are there; where none is, the wait for one.

        Raises:
            SamplerError: none comes.
        """
        deadline = time.monotonic() + self._cluster.config.start_timeout_s
        while not (members := self.started()):
            self._require_time(deadline)
            await asyncio.sleep(0.02)
        return members

    @contextmanager
    def busy(self, member: Member) -> Iterator[None]:
        """Around an episode at a member."""
        self.loads[member.name] = self.loads.get(member.name, 0) + 1
        try:
            yield
        finally:
            if member.name in self.loads:
                self.loads[member.name] -= 1

    def load(self, member: Member) -> int:
        """Episodes under way at a member."""
        return self.loads.get(member.name, 0)

    def replace(self, member: Member, loss: ActorLost) -> None:
        """Have another actor in place of one that was lost, and say why; for the same one twice is harmless."""
        if self.members[member.index] is not member:
            return
        _log.warning("%s Another takes its place.", loss)
        self.num_lost += 1
        member.kill()  # one that cannot be reached may still be at work
        self.loads.pop(member.name, None)
        self._running.discard(member.name)
        self._warn_at.pop(member.name, None)
        self._on_loss(member.name)
        self.members[member.index] = self._make(member.index)

    def close(self, timeout_s: float = 10) -> None:
        """Have all of them close, and kill them."""
        if not self._cluster.is_connected:
            return
        running = [member for member in self.members if member.name in self._running]
        self._cluster.call_all(running, "close", timeout_s=timeout_s)
        for member in self.members:
            member.kill()

    def _make(self, index: int) -> Member:
        self._num_made += 1
        name = f"{self._kind} {self._num_made}"
        self._warn_at[name] = time.monotonic() + _PATIENCE_S
        return self._cluster.start(self._cls, self._bundles[index], name, index, self._args(name))

    def started(self) -> list[Member]:
        """Those that are there by now.

        Raises:
            SamplerError: one cannot be started.
            Exception: whatever one raised as it started.
        """
        for member in self.members:
            if member.name in self._running:
                continue
            try:
                if not member.has_started():
                    self._warn(member)
                elif not self._catch_up(member):
                    self._failed_starts[member.index] = 0
                    self._running.add(member.name)
            except ActorLost as loss:
                self._failed_starts[member.index] += 1
                if self._failed_starts[member.index] > self._cluster.config.max_losses:
                    raise SamplerError(
                        f"The {self._kind} cannot be started: {self._failed_starts[member.index]} in a row were lost "
                        f"before they were ready. {loss} Ray keeps what they printed in the logs of its session."
                    ) from loss
                self.replace(member, loss)
        return [member for member in self.members if member.name in self._running]

    def _warn(self, member: Member) -> None:
        """Say once that an actor waits for a place; the others go on without it."""
        if time.monotonic() < self._warn_at.get(member.name, float("inf")):
            return
        del self._warn_at[member.name]
        if lack := self._cluster.lack():
            _log.warning("The %s waits for a place. %s It starts when there is one.", member.name, lack)

    def _require_time(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            lack = self._cluster.lack()
            raise SamplerError(
                f"No {self._kind} was ready within {self._cluster.config.start_timeout_s:g} seconds. "
                + (f"{lack} Add a node, or go on" if lack else "Look at the logs of Ray's session, or go on")
                + " from the last checkpoint with fewer samplers or environment workers; "
                "sampler.start_timeout_s says how long to wait."
            )
