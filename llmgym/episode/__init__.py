"""Tasks, environments, and the token-exact record of an episode."""

from .limits import Limits, StopReason
from .message_env import EnvResponse, InitialMessages, MessageEnv
from .tasks import FiniteTasks, GeneratedTasks, Task, TaskSource, content_key, split_of
from .trajectory import Role, Segment, Trajectory, TurnRecord

__all__ = [
    "EnvResponse",
    "FiniteTasks",
    "GeneratedTasks",
    "InitialMessages",
    "Limits",
    "MessageEnv",
    "Role",
    "Segment",
    "StopReason",
    "Task",
    "TaskSource",
    "Trajectory",
    "TurnRecord",
    "content_key",
    "split_of",
]
