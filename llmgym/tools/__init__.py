"""Tools that a policy may call."""

from .calculator import Calculator
from .tool import Tool, ToolError, ToolResult

__all__ = ["Calculator", "Tool", "ToolError", "ToolResult"]
