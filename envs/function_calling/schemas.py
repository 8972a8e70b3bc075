"""Functions as the policy sees them: JSON schemas of tools, or text in the prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llmgym.errors import EnvironmentFailure
from llmgym.tools import Tool

_JSON_TYPES: Mapping[str, str] = {
    "integer": "integer",
    "float": "number",
    "boolean": "boolean",
    "array": "array",
    "tuple": "array",
    "dict": "object",
}
"""Of the leaderboard's types; any other is a string."""
_LANGUAGES: Mapping[str, str] = {"python": "Python 3", "java": "Java 8", "javascript": "JavaScript"}
_KEPT = ("description", "enum", "default", "maximum", "minimum", "minItems", "maxItems", "pattern", "format")


class AnswerFunction(Tool):
    """A function that a task offers: calling it is the answer, and nothing is run.

    Args:
        function: of a task, in the leaderboard's form.
        language: that the function belongs to.
    """

    def __init__(self, function: Mapping[str, Any], language: str) -> None:
        self.name = tool_name(function["name"])
        self.description = f"{function['description']} ({_LANGUAGES[language]} syntax.)"
        described = function["parameters"]
        if language == "python":
            properties = {name: _json_schema(schema) for name, schema in described["properties"].items()}
        else:
            properties = {name: _text_schema(schema, language) for name, schema in described["properties"].items()}
        self.parameters = {
            "type": "object",
            "properties": properties,
            "required": list(described.get("required", ())),
        }

    def run(self, **arguments: Any) -> Any:  # noqa: ARG002
        raise EnvironmentFailure(f"The function {self.name!r} was run, but a call of it is an answer to be checked.")


def tool_name(name: str) -> str:
    """The name of a function where names must have no dots."""
    return name.replace(".", "_")


def functions_text(functions: Sequence[Mapping[str, Any]], language: str) -> str:
    """The functions as JSON, one a line."""
    if language != "python":
        functions = [_with_texts(function, language) for function in functions]
    return "\n".join(json.dumps(function, ensure_ascii=False) for function in functions)


def _with_texts(function: Mapping[str, Any], language: str) -> dict[str, Any]:
    described = function["parameters"]
    properties = {name: _text_schema(schema, language) for name, schema in described["properties"].items()}
    return {**function, "parameters": {**described, "properties": properties}}


def _json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    kind = schema.get("type", "string")
    written: dict[str, Any] = {"type": _JSON_TYPES.get(kind, "string")}
    written |= {name: schema[name] for name in _KEPT if name in schema}
    if isinstance(schema.get("properties"), dict):
        written["properties"] = {name: _json_schema(inner) for name, inner in schema["properties"].items()}
        if schema.get("required"):
            written["required"] = list(schema["required"])
    if isinstance(schema.get("items"), dict):
        written["items"] = _json_schema(schema["items"])
    return written


def _text_schema(schema: Mapping[str, Any], language: str) -> dict[str, Any]:
    """The schema of a value of Java or JavaScript, which is given as the text of an expression."""
    inner = f" of {schema['items']['type']}" if "items" in schema else ""
    fields = f" with the fields {json.dumps(schema['properties'])}" if "properties" in schema else ""
    hint = f"The {_LANGUAGES[language]} expression of type {schema['type']}{inner}{fields}, as a string."
    kept = {name: schema[name] for name in _KEPT if name in schema}
    return {"type": "string", **kept, "description": f"{schema.get('description', '')} {hint}".strip()}
