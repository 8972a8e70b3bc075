"""A user who talks with the policy: played by a script, or by a language model.

The user hears what the policy says, never its tools, and knows nothing of how the task is judged.
"""

from .conversation import END, Conversation, UserSimulator
from .model import Ask, ModelUser, user_named
from .script import Fact, Script, ScriptedUser, Wish

__all__ = [
    "END",
    "Ask",
    "Conversation",
    "Fact",
    "ModelUser",
    "Script",
    "ScriptedUser",
    "UserSimulator",
    "Wish",
    "user_named",
]
