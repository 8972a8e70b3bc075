"""Tools that a policy may call."""

from .calculator import Calculator
from .files import Files
from .function_tool import FunctionTool
from .submit import Submit
from .tool import Tool, ToolError, ToolResult

__all__ = ["Calculator", "Files", "FunctionTool", "Submit", "Tool", "ToolError", "ToolResult"]
