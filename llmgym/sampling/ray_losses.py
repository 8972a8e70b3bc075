"""What Ray says of an actor that was lost, in few words, and what helps."""

import re

from ..errors import SamplerError

__all__ = ["ActorLost", "loss", "reason"]

_REMEDIES = {
    "OutOfMemoryError": (
        "Ray ends processes before a node runs out of memory: lower sampler.num_samplers, sampler.num_env_workers or "
        "rollout.concurrency, which need it. RAY_memory_usage_threshold, where Ray is started, says how full it may be."
    ),
    "OutOfDiskError": (
        "Ray puts on disk what its object store has no room for: free some of the disk that has Ray's folder "
        "(sampler.temp_dir, /tmp/ray by default), or make the object store larger with sampler.object_store_mib, on a "
        "cluster with `ray start --object-store-memory`."
    ),
}
_PROCESS_ENDED = (
    "Its process ended without a word: `dmesg` on its node tells whether memory ran out, and the logs of Ray's session "
    "what it printed."
)
_COLOUR = re.compile(r"\x1b\[\d*m")


class ActorLost(SamplerError):
    """An actor is gone, or cannot be reached."""


def loss(name: str, error: Exception) -> SamplerError:
    """What Ray's error means for the actor of a name: `ActorLost`, or that no actor can take its place."""
    if "Owner's node has crashed" in str(error):
        return SamplerError(
            f"The {name} was lost with Ray itself on the node of the learner: its raylet ended. `dmesg` tells whether "
            "memory ran out there, and raylet.err in the logs of Ray's session what else. Go on from the last "
            "checkpoint: `llmgym train --resume`."
        )
    return ActorLost(f"The {name} was lost: {reason(error)}")


def reason(error: Exception) -> str:
    """Why, as Ray's error has it, and what helps; without Ray's pages of figures and advice."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    lines = [line for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()] or kinds
    for kind, remedy in _REMEDIES.items():
        if kind in kinds:
            return f"{_sentence(lines[0])} {remedy}"
    if "RayActorError" not in kinds:
        return _sentence(lines[0])
    if getattr(error, "actor_init_failed", False):
        return _sentence(f"It failed as it was made: {lines[-1].strip()}")
    # Ray begins with that it died; facts follow, indented; then comes why.
    why = next((line for line in lines[1:] if not line.startswith("\t")), lines[0])
    return _PROCESS_ENDED if "connection error code" in why else _sentence(why)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
