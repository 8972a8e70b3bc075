"""Settings of samplers and environment workers on Ray."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """Samplers and environment workers as Ray actors."""

    sampler: Any = "torch"
    """Name of the sampler in each sampler actor, or a function that is called as a registered one is."""
    settings: Mapping[str, Any] | None = None
    """Those of that sampler."""
    num_samplers: int = 1
    """Actors that sample; each has the whole model."""
    num_env_workers: int = 1
    """Actors that run environments; 0: they run in the process of the learner."""
    sampler_cpus: float = 1
    """CPUs of a sampler; torch uses as many threads."""
    sampler_gpus: float = 0
    """GPUs of a sampler."""
    env_worker_cpus: float = 1
    """CPUs of an environment worker."""
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    """Ray's strategy for the placement group of all actors: on few nodes or on many."""
    address: str = ""
    """Of the cluster; "auto": the one that runs on this node; "": that of RAY_ADDRESS, or else a Ray of our own on this
    machine; "local": always one of our own."""
    object_store_mib: int = 0
    """Shared memory of a Ray of our own; 0: what the weights need."""
    temp_dir: str = ""
    """Folder of a Ray of our own, with a short path; "": /tmp/ray."""
    start_timeout_s: float = 300
    """Until actors have to be there."""
    waits_for_nodes: bool = False
    """True: a cluster that is too small adds nodes, which is waited for. False: it is an error at once."""
    hang_timeout_s: float = 300
    """An actor that owes an answer for so long is asked for a sign of life, and is lost where it gives none in as long
    again. More than a step of an environment, or of a sampler, may block its process; inf: it is waited for."""
    max_losses: int = 5
    """How often an episode is played again since an actor was lost, or an actor is lost while it starts."""

    def __post_init__(self) -> None:
        at_least: dict[str, float] = {"num_samplers": 1, "num_env_workers": 0, "object_store_mib": 0, "max_losses": 0}
        at_least |= dict.fromkeys(
            ("sampler_cpus", "sampler_gpus", "env_worker_cpus", "start_timeout_s", "hang_timeout_s"), 0
        )
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ConfigError(f"sampler.{name} is {getattr(self, name)}, but it must be at least {least}.")
        if self.address.startswith("ray://"):
            raise ConfigError(
                f"sampler.address is {self.address!r}, a Ray client, through which no actor can be awaited. "
                "Submit the run to the cluster with `ray job submit`, or run it on a node with address='auto'."
            )

    @property
    def sampler_resources(self) -> dict[str, float]:
        """Of each sampler actor."""
        return {"CPU": self.sampler_cpus, "GPU": self.sampler_gpus}

    @property
    def env_worker_resources(self) -> dict[str, float]:
        """Of each environment worker."""
        return {"CPU": self.env_worker_cpus}
