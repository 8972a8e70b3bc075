"""A request with the functions that may answer it, and the calls that do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llmgym.episode import Task
from llmgym.messages import ToolCall

from .checker import Expected
from .schemas import tool_name

REFUSAL = "I cannot do this, because none of the functions that I have fits what you need."
"""What the reference says where no function fits."""


def language_of(category: str) -> str:
    """Of the functions of a category: "python", "java" or "javascript"."""
    return {"simple_java": "java", "simple_javascript": "javascript"}.get(category, "python")


def task_of(
    *,
    key: str,
    messages: Sequence[tuple[str, str]],
    functions: Sequence[Mapping[str, Any]],
    expected: Sequence[Expected],
    category: str,
    language: str = "python",
) -> Task:
    """The task to answer `messages`, (role, text) each, with calls.

    Its prompt ends with the names of the functions, for the same request is put with different ones.
    """
    names = ", ".join(function["name"] for function in functions)
    prompt = "\n".join([*(text for _, text in messages), f"[{names}]"])
    metadata = {
        "messages": tuple(messages),
        "functions": tuple(functions),
        "expected": tuple(expected),
        "category": category,
        "language": language,
    }
    calls = [(name, _arguments(name, allowed, functions, language)) for name, allowed in expected]
    answer = calls_text(calls) if calls else None
    return Task(key=key, prompt=prompt, answer=answer, metadata={**metadata, "calls": tuple(calls)})


def calls_text(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Calls as Python text; values of Java and JavaScript are texts already."""
    written = (f"{name}({', '.join(f'{key}={value!r}' for key, value in args.items())})" for name, args in calls)
    return f"[{', '.join(written)}]"


def tool_calls(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> list[ToolCall]:
    """The same calls, of tools."""
    return [ToolCall(tool_name(name), dict(args)) for name, args in calls]


def _arguments(
    name: str, allowed_of: Mapping[str, Sequence[Any]], functions: Sequence[Mapping[str, Any]], language: str
) -> dict[str, Any]:
    """The first allowed value of each parameter that must be given."""
    described = next(function for function in functions if function["name"] == name)["parameters"]
    chosen = {}
    for parameter, allowed in allowed_of.items():
        if "" in allowed and parameter not in described.get("required", ()):
            continue
        value = _plain(next((each for each in allowed if each != ""), ""))
        if language != "python":
            schema = described["properties"][parameter]
            value = _expression(value, schema["type"], schema.get("items", {}).get("type"), language)
        chosen[parameter] = value
    return chosen


def _plain(value: Any) -> Any:
    """One of the values that a dictionary, or a list of them, allows."""
    if isinstance(value, dict):
        return {key: allowed[0] for key, allowed in value.items() if "" not in allowed}
    if isinstance(value, list):
        return [_plain(each) if isinstance(each, dict) else each for each in value]
    return value


def _expression(value: Any, kind: str, inner: str | None, language: str) -> str:
    """A value as the text of a Java or JavaScript expression."""
    if isinstance(value, str):
        return value
    if language == "javascript" or not isinstance(value, list | dict):
        return json.dumps(value) + {"long": "L", "float": "f" if language == "java" else ""}.get(kind, "")
    if isinstance(value, dict):
        puts = " ".join(f'put("{key}", {json.dumps(each)});' for key, each in value.items())
        return f"new HashMap<>() {{{{ {puts} }}}}"
    elements = [_element(each, inner, kind) for each in value]
    if kind == "Array":
        return f"new Object[]{{{', '.join(elements)}}}"
    return f"new ArrayList<>(Arrays.asList({', '.join(elements)}))" if elements else "new ArrayList<>()"


def _element(value: Any, inner: str | None, kind: str) -> str:
    if isinstance(value, str):
        return f'"{value}"' if kind == "ArrayList" and inner in ("String", "char") else value
    return _expression(value, inner or "", None, "java")
