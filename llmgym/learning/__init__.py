"""Learning from trajectories: the contract of agents, the mathematics they share, and the learner. Needs torch."""

from ..extras import require

require("torch", extra="train", purpose="Learning")

from . import advantages, losses, masking, overlong  # noqa: E402
from .action_batch import ActionBatch  # noqa: E402
from .agent import Agent, Aggregation, BaseAgent, DataKind, Group, ModelOutputs, Need, RolloutSpec, Unit  # noqa: E402
from .check_agent import check_agent  # noqa: E402
from .checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from .compute import ComputeConfig  # noqa: E402
from .correction import CorrectionConfig  # noqa: E402
from .critic import CriticConfig  # noqa: E402
from .kl import KLConfig  # noqa: E402
from .learner import Learner  # noqa: E402
from .loading import load_policy, load_quantised, load_with_tokenizer, save_policy, with_tokenizer  # noqa: E402
from .lora import LoRAConfig  # noqa: E402
from .model import Policy  # noqa: E402
from .optimization import LearnerConfig  # noqa: E402
from .parallel import ParallelConfig  # noqa: E402

__all__ = [
    "ActionBatch",
    "Agent",
    "Aggregation",
    "BaseAgent",
    "ComputeConfig",
    "CorrectionConfig",
    "CriticConfig",
    "DataKind",
    "Group",
    "KLConfig",
    "Learner",
    "LearnerConfig",
    "LoRAConfig",
    "ModelOutputs",
    "Need",
    "ParallelConfig",
    "Policy",
    "RolloutSpec",
    "Unit",
    "advantages",
    "check_agent",
    "load_checkpoint",
    "load_policy",
    "load_quantised",
    "load_with_tokenizer",
    "losses",
    "masking",
    "overlong",
    "save_checkpoint",
    "save_policy",
    "with_tokenizer",
]
