"""How a policy says that it is done."""

import sys
from typing import Any

from .tool import Tool


class Submit(Tool):
    """Ends the task with an answer, which `ToolEnv` gives to its `answer`.

    Args:
        name: of the tool.
        description: what the policy reads.
        takes_answer: False where the task is judged by what was done: then the tool has no argument, and the answer
            is "".
    """

    is_final = True
    max_output_chars = sys.maxsize

    def __init__(
        self, name: str = "submit", *, description: str = "Submits the final answer.", takes_answer: bool = True
    ) -> None:
        self.name, self.description = name, description
        answer = {"answer": {"type": "string", "description": "The final answer."}} if takes_answer else {}
        self.parameters: dict[str, Any] = {"type": "object", "properties": answer, "required": list(answer)}

    def run(self, *, answer: str = "") -> str:
        return answer
