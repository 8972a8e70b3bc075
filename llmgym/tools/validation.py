"""Arguments against a JSON schema: whether they fit, and what to say to the policy where they do not.

The keywords are those that describe arguments of functions; `oneOf` is read as `anyOf`. Any other keyword, such as
`format` or `pattern`, is for the policy to read and for the tool to insist on.
"""

import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]
Problem = tuple[str, str]
"""Where in the arguments, as in `items[2].name`, and what is wrong there."""

_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (Mapping,),
    "null": (type(None),),
}


def problem_with(arguments: Mapping[str, Any], schema: Schema, *, tool: str) -> str | None:
    """What is wrong with a call's arguments, in words that a policy can act on; None where they fit.

    Args:
        arguments: by name, as JSON has them.
        schema: of an object, with `properties`; it allows no other arguments unless it says so.
        tool: its name.
    """
    schema = {"additionalProperties": False, **schema}
    place, problem = next(_problems(arguments, schema, "", schema), ("", ""))
    if not problem:
        return None
    return f"argument {place!r} of {tool} {problem}" if place else f"{tool} {problem}"


def _problems(value: Any, schema: Schema | bool, place: str, root: Schema) -> Iterator[Problem]:
    if isinstance(schema, bool):
        if not schema:
            yield place, "is not allowed"
        return
    if "$ref" in schema:
        yield from _problems(value, _target(schema["$ref"], root), place, root)
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if kinds and not any(_is_of_kind(value, kind) for kind in kinds):
        yield place, f"must be of type {' or '.join(kinds)}, not {type(value).__name__}"
        return
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if choices is not None and not any(_is_same(value, choice) for choice in choices):
        yield place, f"must be one of {', '.join(map(_json, choices))}, not {_json(value)}"
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            yield from _problems_with_every(schema[keyword], value, place, root)
    for each in schema.get("allOf", ()):
        yield from _problems(value, each, place, root)
    if isinstance(value, str):
        yield from _problems_with_length(len(value), schema, place, "Length", "characters")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _problems_with_number(value, schema, place)
    elif isinstance(value, (list, tuple)):
        yield from _problems_with_array(value, schema, place, root)
    elif isinstance(value, Mapping):
        yield from _problems_with_object(value, schema, place, root)


def _problems_with_every(choices: Sequence[Schema], value: Any, place: str, root: Schema) -> Iterator[Problem]:
    """Nothing where a choice fits, else the problem of the choice that fits furthest in."""
    problems = [next(_problems(value, choice, place, root), None) for choice in choices]
    if None not in problems:
        deepest = max(len(problem[0]) for problem in problems if problem)
        found = {problem: None for problem in problems if problem and len(problem[0]) == deepest}
        yield next(iter(found))[0], ", or ".join(problem for _, problem in found)


def _problems_with_number(value: float, schema: Schema, place: str) -> Iterator[Problem]:
    for keyword, words, fits in (
        ("minimum", "at least", operator.ge),
        ("maximum", "at most", operator.le),
        ("exclusiveMinimum", "more than", operator.gt),
        ("exclusiveMaximum", "less than", operator.lt),
    ):
        if keyword in schema and not fits(value, schema[keyword]):
            yield place, f"must be {words} {schema[keyword]}, not {_json(value)}"


def _problems_with_array(value: Sequence[Any], schema: Schema, place: str, root: Schema) -> Iterator[Problem]:
    yield from _problems_with_length(len(value), schema, place, "Items", "elements")
    for index, each in enumerate(value):
        yield from _problems(each, schema.get("items", True), f"{place}[{index}]", root)
    if schema.get("uniqueItems") and len({json.dumps(each, sort_keys=True) for each in value}) < len(value):
        yield place, "must not hold an element twice"


def _problems_with_object(value: Mapping[str, Any], schema: Schema, place: str, root: Schema) -> Iterator[Problem]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    noun = "" if place else "argument "
    for key in schema.get("required", ()):
        if key not in value:
            yield place, f"needs {noun and 'the ' + noun}{key!r}"
    for key, each in value.items():
        if key not in properties and others is False:
            yield place, f"has no {noun}{key!r}; it takes {', '.join(properties) or 'none'}"
        else:
            inner = f"{place}.{key}" if place else key
            yield from _problems(each, properties.get(key, others), inner, root)


def _problems_with_length(length: int, schema: Schema, place: str, of: str, unit: str) -> Iterator[Problem]:
    least, most = schema.get(f"min{of}", 0), schema.get(f"max{of}", length)
    if not least <= length <= most:
        yield place, f"must have {f'at least {least}' if length < least else f'at most {most}'} {unit}, not {length}"


def _target(reference: str, root: Schema) -> Schema | bool:
    """The schema that `#/$defs/Name` means; any other reference holds everything to be right."""
    target: Any = root
    for part in reference.removeprefix("#/").split("/"):
        target = target.get(part, True) if isinstance(target, Mapping) else True
    return target if isinstance(target, Mapping) else True


def _is_of_kind(value: Any, kind: str) -> bool:
    if isinstance(value, bool) and kind in ("integer", "number"):
        return False
    return isinstance(value, _KINDS.get(kind, (object,)))


def _is_same(value: Any, choice: Any) -> bool:
    return isinstance(value, bool) is isinstance(choice, bool) and bool(value == choice)


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}..."
