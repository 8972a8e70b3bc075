"""What a run came to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..episode import TokenEnv
from ..errors import ConfigError
from ..evaluation import Evaluation
from ..messages import Tokenizer


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run came to."""

    folder: Path
    """Config, metrics, trajectories and `model/`, which `AutoModelForCausalLM.from_pretrained` loads."""
    before: Mapping[str, Evaluation]
    """Held-out tasks before the agent's first step: "sampled" and "greedy"."""
    after: Mapping[str, Evaluation]
    """The same tasks after its last step."""
    tokenizer: Tokenizer
    """That of the model."""
    is_complete: bool = True
    """False where the run was stopped before its last step: `Trainer.resume` goes on."""
    is_followed: bool = False
    """True in a process that only helped to learn; process 0 has written everything."""


def common_full_reward(envs: Mapping[str, TokenEnv]) -> float:
    """The full reward of the environments, which is one: rewards of different scales in one batch mean nothing.

    Raises:
        ConfigError: it is not one.
    """
    rewards = {name: env.message_env.reward_range[1] for name, env in envs.items()}
    if len(set(rewards.values())) > 1:
        told = ", ".join(f"{name} pays {reward:g}" for name, reward in rewards.items())
        raise ConfigError(
            f"The environments of a run must pay the same full reward, but {told}. Scale rewards and reward_range."
        )
    return next(iter(rewards.values()))
