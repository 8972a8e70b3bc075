"""Tasks, environments, and the token-exact record of an episode."""

from .episode import Episode
from .limits import EpisodeSettings, Limits, StopReason
from .message_env import EnvResponse, InitialMessages, MessageEnv
from .register import register_announced_envs, register_env
from .rubric_env import RubricEnv
from .tasks import FiniteTasks, GeneratedTasks, Task, TaskSource, content_key, split_of
from .token_env import TokenEnv
from .tool_env import ToolEnv
from .trajectory import Role, Segment, Trajectory, TurnRecord

__all__ = [
    "EnvResponse",
    "Episode",
    "EpisodeSettings",
    "FiniteTasks",
    "GeneratedTasks",
    "InitialMessages",
    "Limits",
    "MessageEnv",
    "Role",
    "RubricEnv",
    "Segment",
    "StopReason",
    "Task",
    "TaskSource",
    "TokenEnv",
    "ToolEnv",
    "Trajectory",
    "TurnRecord",
    "content_key",
    "register_announced_envs",
    "register_env",
    "split_of",
]
