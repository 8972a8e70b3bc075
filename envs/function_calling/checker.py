"""Whether calls are the right ones, by the rules of the Berkeley Function Calling Leaderboard, label for label.

Differences from what one might expect are the leaderboard's, and kept: strings are compared without case and most
punctuation, whole numbers count as floats only outside of lists, and parallel calls are matched greedily.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .decoding import Call
from .java_values import JAVA_TYPES, java_value
from .javascript_values import JAVASCRIPT_TYPES, javascript_value

Expected = tuple[str, Mapping[str, Sequence[Any]]]
"""A function's name and, for each parameter, its allowed values; "" among them: it may be left out."""

PYTHON_TYPES: Mapping[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}
_MAX_WHOLE_FLOAT = 10**308
"""A larger whole number has no float."""
_LISTS_OF_LANGUAGE = ("Array", "ArrayList", "array")


@dataclass(frozen=True)
class Mistake:
    """Why calls are wrong."""

    label: str
    """One of the leaderboard's error labels."""
    detail: str


@dataclass(frozen=True)
class _Typed:
    """The outcome of comparing types."""

    is_variable: bool = False
    """The value has the type of the allowed values instead of the schema's: it is compared as it is."""
    mistake: Mistake | None = None


def find_mistake(
    calls: Sequence[Call],
    functions: Sequence[Mapping[str, Any]],
    expected: Sequence[Expected],
    *,
    category: str,
    language: str,
    dots_as_underscores: bool = False,
) -> Mistake | None:
    """The first thing wrong with `calls`; None where they are right.

    Args:
        calls: of the answer.
        functions: that the policy could choose from, in the leaderboard's own form of a schema.
        expected: the right calls.
        category: of the task; "parallel" or "multiple" in its name decides how calls are matched.
        language: "python", "java" or "javascript": of the values.
        dots_as_underscores: True where the policy was shown names without dots.
    """
    checker = _Checker(functions, language, dots_as_underscores)
    if "parallel" in category:
        return checker.match_in_any_order(calls, expected)
    kind = "multiple" if "multiple" in category else "simple"
    wanted = len(expected) if kind == "multiple" else 1
    if len(calls) != wanted:
        return Mistake(f"{kind}_function_checker:wrong_count", f"{len(calls)} calls instead of {wanted}")
    function = checker.function(expected[0][0]) if kind == "multiple" else functions[0]
    return checker.mistake_in(calls[0], function, expected[0])


class _Checker:
    def __init__(self, functions: Sequence[Mapping[str, Any]], language: str, dots_as_underscores: bool) -> None:
        self.functions, self.language, self.dots_as_underscores = functions, language, dots_as_underscores

    def function(self, name: str) -> Mapping[str, Any]:
        return next(function for function in self.functions if function["name"] == name)

    def match_in_any_order(self, calls: Sequence[Call], expected: Sequence[Expected]) -> Mistake | None:
        checker = "parallel_function_checker_no_order"
        if len(calls) != len(expected):
            return Mistake(f"{checker}:wrong_count", f"{len(calls)} calls instead of {len(expected)}")
        left = list(calls)
        for each in expected:
            function, mistakes = self.function(each[0]), []
            for index, call in enumerate(left):
                mistake = self.mistake_in(call, function, each)
                if mistake is None:
                    del left[index]
                    break
                mistakes.append(f"{call.name}: {mistake.label}")
            else:
                return Mistake(
                    f"{checker}:cannot_find_match", f"no call is right for {each[0]} ({'; '.join(mistakes)})"
                )
        return None

    def mistake_in(self, call: Call, function: Mapping[str, Any], expected: Expected) -> Mistake | None:
        checker, allowed_of = "simple_function_checker", expected[1]
        properties = function["parameters"]["properties"]
        name = function["name"].replace(".", "_") if self.dots_as_underscores else function["name"]
        if call.name != name:
            return Mistake(f"{checker}:wrong_func_name", f"{call.name!r:.60} instead of {name!r}")
        for parameter in function["parameters"].get("required", ()):
            if parameter not in call.arguments:
                return Mistake(f"{checker}:missing_required", f"{parameter!r} is missing")
        for parameter, value in call.arguments.items():
            if parameter not in properties or parameter not in allowed_of:
                return Mistake(f"{checker}:unexpected_param", f"{parameter!r:.60} is not asked for")
            mistake = self.mistake_in_value(parameter, value, properties[parameter], allowed_of[parameter])
            if mistake is not None:
                return mistake
        for parameter, allowed in allowed_of.items():
            if parameter not in call.arguments and "" not in allowed:
                return Mistake(f"{checker}:missing_optional", f"{parameter!r} is missing")
        return None

    def mistake_in_value(
        self, parameter: str, value: Any, schema: Mapping[str, Any], allowed: Sequence[Any]
    ) -> Mistake | None:
        kind = schema["type"]
        if self.language == "python":
            types = PYTHON_TYPES
            inner = types[schema["items"]["type"]] if kind in ("array", "tuple") else None
            if kind == "tuple" and isinstance(value, tuple):
                value = list(value)
            elif kind == "float" and type(value) is int and abs(value) < _MAX_WHOLE_FLOAT:
                value = float(value)
        else:
            types = JAVA_TYPES if self.language == "java" else JAVASCRIPT_TYPES
            if not isinstance(value, str):
                short = "java" if self.language == "java" else "js"
                return Mistake(f"type_error:{short}", f"{parameter!r} is {value!r:.60}, which is no text")
            inner_kind = schema["items"]["type"] if kind in _LISTS_OF_LANGUAGE else None
            inner = types[inner_kind] if inner_kind else None
            convert = java_value if self.language == "java" else javascript_value
            value = convert(value, kind, inner_kind)
        typed = _compare_types(parameter, value, allowed, types[kind], inner)
        if typed.mistake is not None:
            return typed.mistake
        if typed.is_variable:
            return _if_not(value in allowed, "value_error:others", parameter, value)
        return _compare_values(parameter, value, allowed, types[kind], inner)


def _compare_types(
    parameter: str, value: Any, allowed: Sequence[Any], wanted: type[Any], inner: type[Any] | None
) -> _Typed:
    allowed_type = next((type(each) for each in allowed if each != ""), None)
    is_variable = allowed_type is not None and allowed_type is not wanted
    label = "type_error:simple"
    if type(value) is wanted:
        if inner is None:
            return _Typed(is_variable)
        for each in allowed:
            if not isinstance(each, list) or all(
                _compare_types(parameter, element, each, inner, None).mistake is None for element in value
            ):
                return _Typed(is_variable)
        label = "type_error:nested"
    elif allowed_type is not None and type(value) is allowed_type:
        return _Typed(True)
    if label == "type_error:nested" and allowed_type is not type(value):
        label = "type_error:simple"
    return _Typed(mistake=Mistake(label, f"{parameter!r} is {value!r:.60}, not of type {wanted.__name__}"))


def _compare_values(
    parameter: str, value: Any, allowed: Sequence[Any], wanted: type[Any], inner: type[Any] | None
) -> Mistake | None:
    if wanted is dict:
        return _compare_dict(value, allowed)
    if wanted is list and inner is dict:
        return _compare_dicts(value, allowed)
    if wanted is str:
        texts = [plain(each) for each in allowed if isinstance(each, str)]
        return _if_not(plain(value) in texts, "value_error:string", parameter, value)
    if wanted is list:
        lists = [[_plain(element) for element in each] for each in allowed]
        return _if_not([_plain(element) for element in value] in lists, "value_error:list/tuple", parameter, value)
    return _if_not(value in allowed, "value_error:others", parameter, value)


def _compare_dict(value: Any, allowed: Sequence[Any]) -> Mistake | None:
    """None where `value` is one of the allowed dictionaries, each of lists of allowed values."""
    mistake: Mistake | None = Mistake("dict_checker:unclear", "no dictionary is allowed")
    if not isinstance(value, Mapping):
        return mistake
    for each in allowed:
        if each == "":
            continue
        mistake = _mistake_in_dict(value, each)
        if mistake is None:
            return None
    return mistake


def _mistake_in_dict(value: Mapping[str, Any], expected: Mapping[str, Sequence[Any]]) -> Mistake | None:
    mistake = None
    for key, element in value.items():
        if key not in expected:
            mistake = Mistake("value_error:dict_key", f"the key {key!r:.60} is not asked for")
            break
        if _plain(element) not in [_plain(each) for each in expected[key]]:
            mistake = Mistake("value_error:dict_value", f"{key!r} is {element!r:.60}")
            break
    for key, each in expected.items():  # a missing key is told even where something else is wrong before
        if key not in value and "" not in each:
            return Mistake("value_error:dict_key", f"the key {key!r} is missing")
    return mistake


def _compare_dicts(value: Sequence[Any], allowed: Sequence[Any]) -> Mistake | None:
    mistake: Mistake | None = Mistake("list_dict_checker:unclear", "no list is allowed")
    for each in allowed:
        if len(value) != len(each):
            mistake = Mistake("value_error:list_dict_count", f"{len(value)} dictionaries instead of {len(each)}")
            continue
        for own, expected in zip(value, each, strict=True):
            mistake = _compare_dict(own, [expected])
            if mistake is not None:
                break
        else:
            return None
    return mistake


def _if_not(is_right: bool, label: str, parameter: str, value: Any) -> Mistake | None:
    return None if is_right else Mistake(label, f"{parameter!r} is {value!r:.60}")


def plain(text: str) -> str:
    """`text` without case, spaces and the signs `, . / - _ * ^`, and with one kind of quote."""
    return re.sub(r"[ ,./\-_*^]", "", text).lower().replace("'", '"')


def _plain(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value
