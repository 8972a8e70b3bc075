"""Tools that a policy may call."""

from .calculator import Calculator
from .files import Files
from .function_tool import FunctionTool
from .mcp import McpTools
from .search import Corpus, Document, Search
from .sql import Sql
from .submit import Submit
from .tool import Tool, ToolError, ToolResult
from .workspace import Python, Shell, Workspace

__all__ = [
    "Calculator",
    "Corpus",
    "Document",
    "Files",
    "FunctionTool",
    "McpTools",
    "Python",
    "Search",
    "Shell",
    "Sql",
    "Submit",
    "Tool",
    "ToolError",
    "ToolResult",
    "Workspace",
]
