"""Gymnasium environments for language-model agents: exact tokens, verifiable rewards, pluggable learning.

`import llmgym` registers the environments. What needs torch, or much time to import, is imported on first use.
"""

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# In a checkout the folder `llmgym` may come before the installed package on sys.path (`python -m` in the
# repository root); the installed one holds llmgym.envs, llmgym.sandbox and llmgym.agents.
__path__ = extend_path(__path__, __name__)

from .episode import (
    EnvResponse,
    FiniteTasks,
    GeneratedTasks,
    InitialMessages,
    Limits,
    MessageEnv,
    Segment,
    StopReason,
    Task,
    TaskSource,
    TokenEnv,
    ToolEnv,
    Trajectory,
    TurnRecord,
    content_key,
    register_announced_envs,
    register_env,
    split_of,
)
from .errors import InfrastructureError, LLMGymError
from .extras import required_by
from .messages import AssistantMessage, ByteTokenizer, Message, ToolCall, load_tokenizer
from .registry import AGENTS, SAMPLERS
from .sampling import SamplingParams
from .scoring import Score, Verifier
from .tools import Calculator, FunctionTool, Submit, Tool, ToolError

if TYPE_CHECKING:
    from .cli.runs import resume as resume
    from .cli.runs import train as train
    from .episode.check_env import check_env as check_env
    from .evaluation import evaluate as evaluate
    from .learning.check_agent import check_agent as check_agent
    from .rollout import collect as collect
    from .training import Trainer as Trainer

__version__ = "0.1.0"

_ON_FIRST_USE = {
    "Trainer": "training",
    "check_agent": "learning.check_agent",
    "check_env": "episode.check_env",
    "collect": "rollout",
    "evaluate": "evaluation",
    "resume": "cli.runs",
    "train": "cli.runs",
}


def __getattr__(name: str) -> Any:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'llmgym' has no attribute {name!r}")
    with required_by(f"llmgym.{name}"):
        return getattr(import_module(f".{_ON_FIRST_USE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ON_FIRST_USE])


__all__ = [
    "AGENTS",
    "SAMPLERS",
    "AssistantMessage",
    "ByteTokenizer",
    "Calculator",
    "EnvResponse",
    "FiniteTasks",
    "FunctionTool",
    "GeneratedTasks",
    "InfrastructureError",
    "InitialMessages",
    "LLMGymError",
    "Limits",
    "Message",
    "MessageEnv",
    "SamplingParams",
    "Score",
    "Segment",
    "StopReason",
    "Submit",
    "Task",
    "TaskSource",
    "TokenEnv",
    "Tool",
    "ToolCall",
    "ToolEnv",
    "ToolError",
    "Trajectory",
    "TurnRecord",
    "Verifier",
    "content_key",
    "load_tokenizer",
    "register_env",
    "split_of",
]

register_announced_envs()
