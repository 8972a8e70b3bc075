"""A Ray cluster, and actors on it. Ray is imported here alone.

What Ray's defaults would do to us, and what is set instead:

- Ray's workers run at niceness 15 and starve beside anything else: 0 here (`RAY_worker_niceness`). A cluster that was
  started before keeps its own, so start it with that variable.
- One idle Python process for each CPU is started beforehand, and never used by actors of ours: none here.
- What actors print, and that one was lost, would be printed by the driver, on its stdout: it stays in the folder of
  Ray's session, and losses are counted, and told in our words.
- The object store is a share of all memory, whatever fits into /dev/shm: here what the weights need, if there is room.
- The dashboard and the usage report are processes and connections that nobody asked for: off.
- SIGTERM is taken over by Ray: what was set before is set again.
- Ray itself sets OMP_NUM_THREADS in an actor to its CPUs.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Ray would tell of lost processes on stdout, whatever it is asked for; it reads this as it is imported.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "(?s).")

import ray
from ray.cloudpickle import CloudPickler as ByValuePickler
from ray.exceptions import RayError, RayTaskError
from ray.util import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ..errors import ConfigError, SamplerError
from .ray_config import RayConfig
from .ray_losses import ActorLost, loss, reason

if os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] == "(?s).":
    del os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"]  # programs that are started from here may want to see what Ray prints

__all__ = ["ActorLost", "ByValuePickler", "Member", "RayActor", "RayCluster", "own_host_name"]

_MIN_STORE_MIB = 128
_SHARE_OF_SHM = 0.8
_CALLS_AT_ONCE = 4096
"""Of an actor; each episode under way is one."""
_ENVIRONMENT = {
    "RAY_worker_niceness": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what will be the default, and no warning about it
}


class RayActor:
    """Base of what runs as an actor.

    Args:
        search_path: of the learner's process; what can be imported there can be imported here, where it is the same
            machine or has the same files. Ray itself takes only the folder of the script along.
    """

    def __init__(self, search_path: Sequence[str]) -> None:
        sys.path += [folder for folder in search_path if folder not in sys.path and Path(folder).exists()]

    async def ping(self) -> None:
        """A sign of life."""


@dataclass(eq=False)
class Member:
    """One actor of a fleet, which may be called from other actors too."""

    index: int
    """Its place in the fleet."""
    name: str
    """Of this actor and no other; one that replaces it has another."""
    actor: Any
    started: Any
    """The answer to its first call, `start`; None in other actors, which hear of those that are running."""
    hang_timeout_s: float
    _newest: Any = None
    """The answer to the newest call that it has to answer before it takes part; None: to the first one."""

    async def call(self, method: str, *args: Any) -> Any:
        """What the actor's method answers.

        Raises:
            ActorLost: it is gone, or hangs.
            Exception: whatever the method raised.
        """
        answer = asyncio.ensure_future(self._answer(method, *args))
        try:
            while not (await asyncio.wait([answer], timeout=self.hang_timeout_s))[0]:
                await self._require_life()
            return await answer
        finally:
            answer.cancel()

    async def _answer(self, method: str, *args: Any) -> Any:
        try:
            return await getattr(self.actor, method).remote(*args)
        except RayError as error:
            raise self._meaning(error) from error

    async def _require_life(self) -> None:
        if self.started is not None and not ray.wait([self._newest or self.started], timeout=0)[0]:
            return  # loading a model may take its time, and there is a limit to that
        try:
            async with asyncio.timeout(self.hang_timeout_s):
                await self._answer("ping")
        except TimeoutError as error:
            raise ActorLost(f"The {self.name} hangs: no sign of life in {self.hang_timeout_s:g} seconds.") from error

    def cast(self, method: str, *args: Any) -> None:
        """Have the actor's method run; whether it did is not told."""
        with suppress(RayError):
            getattr(self.actor, method).remote(*args)

    def begin(self, method: str, *args: Any) -> None:
        """Have the actor's method run as a part of its start, which is not over before."""
        self._newest = getattr(self.actor, method).remote(*args)

    def has_started(self) -> bool:
        """Whether its `start`, and what it had to `begin` since, has answered.

        Raises:
            ActorLost: it is gone.
            Exception: whatever that raised.
        """
        awaited = self._newest or self.started
        if not ray.wait([awaited], timeout=0)[0]:
            return False
        try:
            ray.get(awaited)
        except RayError as error:
            raise self._meaning(error) from error
        return True

    def kill(self) -> None:
        """End its process at once."""
        ray.kill(self.actor)

    def _meaning(self, error: RayError) -> Exception:
        """What was raised in the actor, or that it was lost."""
        if not isinstance(error, RayTaskError):
            return loss(self.name, error)
        cause = error.cause
        if isinstance(cause, RayError):  # of what the actor answered, or was asked with
            return SamplerError(f"The {self.name} failed: {reason(cause)}")
        return cause if isinstance(cause, Exception) else error

    def __reduce__(self) -> tuple[Any, ...]:
        return Member, (self.index, self.name, self.actor, None, self.hang_timeout_s)


class RayCluster:
    """A connection to Ray, and a placement group for all actors of a run.

    Args:
        config: how.
        weights_bytes: that the object store has to hold.

    Raises:
        ConfigError: no cluster is at the address, or it cannot hold the actors.
    """

    def __init__(self, config: RayConfig, *, weights_bytes: int = 0) -> None:
        self.config = config
        bundles = [config.sampler_resources] * config.num_samplers
        bundles += [config.env_worker_resources] * config.num_env_workers
        self._bundles = [
            {name: amount for name, amount in bundle.items() if amount} or {"CPU": 0.001} for bundle in bundles
        ]
        self.is_own = _connect(config, self._total, weights_bytes)
        """Whether Ray was started here, and ends with `close`."""
        self._is_closed = False
        try:
            self._group = placement_group(self._bundles, strategy=config.placement)
            self._require_place()
        except BaseException:
            self.close()
            raise

    def put(self, value: Any) -> Any:
        """A reference to `value` in the object store.

        Raises:
            SamplerError: it has no room.
        """
        try:
            return ray.put(value)
        except RayError as error:
            raise SamplerError(f"Ray's object store did not take weights: {reason(error)}") from error

    def by_value(self, value: Any) -> bytes:
        """Pickled; classes that another process cannot import go along."""
        pickled: bytes = ray.cloudpickle.dumps(value)
        return pickled

    def get(self, reference: Any) -> Any:
        """What a reference stands for."""
        return ray.get(reference)

    def start(self, cls: type[RayActor], bundle: int, name: str, index: int, args: Sequence[Any]) -> Member:
        """An actor of a class in its place of the placement group; it is there once `Member.started` is.

        Args:
            cls: a `RayActor`, with an `async def start(self, *args)` and further methods.
            bundle: number of its place.
            name: of the actor.
            index: in its fleet.
            args: of `start`; references are given as what they stand for.
        """
        bundle_resources = self._bundles[bundle]
        actor = (
            ray.remote(cls)
            .options(
                num_cpus=bundle_resources.get("CPU", 0),
                num_gpus=bundle_resources.get("GPU", 0),
                max_concurrency=_CALLS_AT_ONCE,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=bundle),
            )
            .remote(sys.path)
        )
        return Member(index, name, actor, actor.start.remote(*args), self.config.hang_timeout_s)

    def call_all(self, members: Sequence[Member], method: str, *, timeout_s: float) -> None:
        """Have a method of several actors run, and wait for the answers, whatever they are, so long."""
        with suppress(RayError):
            calls = [getattr(member.actor, method).remote() for member in members]
            if calls:
                ray.wait(calls, num_returns=len(calls), timeout=timeout_s)

    @property
    def is_connected(self) -> bool:
        """False where somebody else shut Ray down."""
        return bool(ray.is_initialized())

    def lack(self) -> str:
        """Which actors have no place in the cluster, what they need, and what it has; "" where each has its place."""
        try:
            table = placement_group_table(self._group)
        except RayError:
            return ""
        without = [self._bundles[index] for index, node in table["bundles_to_node_id"].items() if not node]
        if not without:
            return ""
        num_nodes = sum(node["Alive"] for node in ray.nodes())
        has = _words(ray.available_resources()) or "no CPU"
        return (
            f"{len(without)} of {len(self._bundles)} actors have no node to run on: they need {_words(_sum(without))}, "
            f"placed by {self.config.placement!r}, and the {num_nodes} nodes of the cluster have {has} free."
        )

    def close(self) -> None:
        """Free the place, and end a Ray of our own. Twice is harmless."""
        if self._is_closed:
            return
        self._is_closed = True
        if not ray.is_initialized():
            return
        if hasattr(self, "_group"):
            with suppress(RayError):
                remove_placement_group(self._group)
        if self.is_own:
            ray.shutdown()

    @property
    def _total(self) -> dict[str, float]:
        return _sum(self._bundles)

    def _require_place(self) -> None:
        there = ray.cluster_resources()
        is_large = all(amount <= there.get(name, 0) for name, amount in self._total.items())
        if (is_large or self.config.waits_for_nodes) and self._group.wait(self.config.start_timeout_s):
            return
        asked, had = _words(self._total), _words(there)
        if is_large:
            had += f" and did not give them within {self.config.start_timeout_s:g} seconds"
        raise ConfigError(
            f"The actors need {asked} on the cluster, which has {had or 'neither'}. Ask for fewer samplers or "
            "environment workers, or for fewer CPUs or GPUs for each; or wait longer with sampler.start_timeout_s, and "
            "for nodes that are still to be added with sampler.waits_for_nodes = true."
        )


def own_host_name() -> str:
    """Where other nodes of the cluster reach this process."""
    return str(ray.util.get_node_ip_address())


def _sum(bundles: Iterable[Mapping[str, float]]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle.items():
            totals[name] = totals.get(name, 0) + amount
    return totals


def _words(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(resources.items()) if name in ("CPU", "GPU"))


def _connect(config: RayConfig, total: Mapping[str, float], weights_bytes: int) -> bool:
    """Connect to Ray, or start it; True where it was started."""
    if ray.is_initialized():
        return False
    address = config.address or os.environ.get("RAY_ADDRESS", "")
    with _surroundings():
        if address not in ("", "local"):
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise ConfigError(
                    f"There is no Ray cluster at {address!r}: {reason(error)} Start one with `ray start --head`, "
                    "correct sampler.address or RAY_ADDRESS, or leave both out for a Ray on this machine alone."
                ) from error
            return False
        ray.init(
            "local",
            # CPUs are counted, not bound: the actors fit on a machine with fewer, and share them.
            num_cpus=max(os.cpu_count() or 1, round(total.get("CPU", 0) + 0.5)),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_store_mib(config, weights_bytes) * 2**20,
            **({"_temp_dir": config.temp_dir} if config.temp_dir else {}),
        )
    return True


def _store_mib(config: RayConfig, weights_bytes: int) -> int:
    """Room for the first weights, the newest, those before them, and trajectories."""
    wanted = config.object_store_mib or 3 * weights_bytes // 2**20 + 2 * _MIN_STORE_MIB
    shm = Path("/dev/shm")
    room = int(_SHARE_OF_SHM * shutil.disk_usage(shm).free / 2**20) if shm.is_dir() else wanted
    # More than there is would be put on disk from the start; what does not fit later is spilled there by Ray.
    return max(_MIN_STORE_MIB, min(wanted, room))


@contextmanager
def _surroundings() -> Iterator[None]:
    """Our variables while Ray starts, and the handler of SIGTERM that there was."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if is_main else None
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, former in before.items():
            if former is None:
                del os.environ[name]
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)
