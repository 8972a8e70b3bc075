"""What the desks of both domains have in common: a database of the episode, and tools made of methods."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from llmgym.tools import FunctionTool, Tool, ToolError
from llmgym.tools.calculator import evaluate

from .database import Database, Record

TRANSFER = "transfer_to_human_agents"
"""The tool that ends an episode."""


class Desk:
    """The tools of a domain over the database of one episode.

    Args:
        version: of the benchmark, 1 or 2, whose tools differ in a few details.
    """

    tool_names: ClassVar[Mapping[int, Sequence[str]]]
    """By version."""
    database: Database

    def __init__(self, version: int) -> None:
        self.version = version

    def tools(self, schemas: Iterable[Mapping[str, Any]] = ()) -> tuple[Tool, ...]:
        """The tools, which all work on `database`.

        Args:
            schemas: published ones; a tool that has none describes itself.
        """
        published = {schema["function"]["name"]: schema["function"] for schema in schemas}
        tools = []
        for name in self.tool_names[self.version]:
            given = published.get(name, {})
            tool = FunctionTool(
                getattr(self, name), description=given.get("description"), parameters=given.get("parameters")
            )
            tool.is_final = name == TRANSFER
            tools.append(tool)
        return tuple(tools)

    def calculate(self, expression: str) -> str:
        """Calculates an expression of numbers, + - * / and parentheses, to two decimals.

        Args:
            expression: such as "2 * (3 + 4)".
        """
        try:
            return str(round(float(evaluate(expression)), 2))
        except OverflowError:
            raise ToolError("the result is too large") from None

    def think(self, thought: str) -> str:  # noqa: ARG002
        """Notes a thought. It changes nothing and finds nothing out.

        Args:
            thought: whatever helps.
        """
        return ""

    def transfer_to_human_agents(self, summary: str) -> str:  # noqa: ARG002
        """Hands the user over to a human agent, which ends the conversation.

        Use it if and only if the request is outside of what the tools can do.

        Args:
            summary: of the user's request.
        """
        return "Transfer successful"

    def _found(self, table: str, key: str, what: str) -> Record:
        record = self.database.get(table, key)
        if record is None:
            raise ToolError(f"{what} not found")
        return record
