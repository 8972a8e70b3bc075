"""Tools that a policy may call."""

from .calculator import Calculator
from .files import Files
from .function_tool import FunctionTool
from .sql import Sql
from .submit import Submit
from .tool import Tool, ToolError, ToolResult

__all__ = ["Calculator", "Files", "FunctionTool", "Sql", "Submit", "Tool", "ToolError", "ToolResult"]
