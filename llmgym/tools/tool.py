"""The contract of a tool: a schema that the policy reads, and a call whose failure is a result."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..messages import ToolCall

_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (Mapping,),
}


class ToolError(Exception):
    """Raised by a tool for what the policy did wrong; its message is the tool's answer."""


@dataclass(frozen=True)
class ToolResult:
    """What a tool answered. A policy's mistake is an answer too."""

    content: str
    is_error: bool = False


class Tool(ABC):
    """Something that the policy may call by name with arguments."""

    name: ClassVar[str]
    description: ClassVar[str]
    parameters: ClassVar[Mapping[str, Any]]
    """JSON schema of the arguments, an object with `properties` and `required`."""

    @abstractmethod
    def run(self, **arguments: Any) -> str:
        """Do it, with arguments that fit the schema.

        Raises:
            ToolError: the policy asked for something impossible.
        """

    @property
    def schema(self) -> dict[str, Any]:
        """The tool in the form that chat templates take."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}

    def call(self, call: ToolCall) -> ToolResult:
        """Validate the arguments, run the tool, and turn the policy's mistakes into answers."""
        problem = self._problem_with(call.arguments)
        if problem:
            return ToolResult(f"error: {problem}", is_error=True)
        try:
            return ToolResult(self.run(**call.arguments))
        except ToolError as error:
            return ToolResult(f"error: {error}", is_error=True)

    def _problem_with(self, arguments: Mapping[str, Any]) -> str | None:
        properties = self.parameters.get("properties", {})
        for name in self.parameters.get("required", ()):
            if name not in arguments:
                return f"{self.name} needs the argument {name!r}"
        for name, value in arguments.items():
            if name not in properties:
                return f"{self.name} has no argument {name!r}; it takes {', '.join(properties) or 'none'}"
            kind = properties[name].get("type")
            fits = isinstance(value, _JSON_TYPES.get(kind, (object,)))
            if not fits or (isinstance(value, bool) and kind in ("integer", "number")):
                return f"argument {name!r} of {self.name} must be of type {kind}, not {type(value).__name__}"
        return None
