"""Prompts of the small environments: their wording is the user's."""

import json
from collections.abc import Sequence

from llmgym.episode import InitialMessages, Task
from llmgym.errors import ConfigError
from llmgym.messages import Message
from llmgym.tools import Tool

_PLACE = "{prompt}"


class PromptWording:
    """How a task is put to the policy.

    Args:
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the task's prompt goes. Other braces are plain text.

    Raises:
        ConfigError: the template has no place for the prompt.
    """

    def __init__(self, system_prompt: str, prompt_template: str) -> None:
        if _PLACE not in prompt_template:
            raise ConfigError(
                f"prompt_template is {prompt_template!r}, but it must contain {_PLACE!r}, where the task's prompt goes."
            )
        self.system_prompt, self.prompt_template = system_prompt, prompt_template

    def initial_messages(self, task: Task) -> InitialMessages:
        """The system message, if any, and the user message."""
        system = (Message("system", self.system_prompt),) if self.system_prompt else ()
        return InitialMessages((*system, Message("user", self.prompt_template.replace(_PLACE, task.prompt))))


def with_tools(prompt: str, tools: Sequence[Tool]) -> str:
    """The prompt with "{tools}" replaced by the tools' schemas, one a line: not every chat template shows them."""
    return prompt.replace("{tools}", "\n".join(json.dumps(tool.schema["function"]) for tool in tools))
