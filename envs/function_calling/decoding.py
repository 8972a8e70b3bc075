"""Calls, read from what the policy wrote: Python call text, or the named arguments of a Java or JavaScript call."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_MAX_NUMBER = 10**400
_MAX_LENGTH = 1000
"""Of what an operator makes of constants, so that no answer is endless to compute or to print."""


@dataclass(frozen=True)
class Call:
    """One call as it was read: a name and its named arguments. A name may be of any form here."""

    name: str
    arguments: Mapping[Any, Any]


class UnreadableCalls(ValueError):
    """The text is no list of calls."""


def read_calls(text: str, language: str) -> list[Call]:
    """The calls of an answer in prompt mode.

    Args:
        text: of the whole answer; outer code fences and missing outer brackets are forgiven.
        language: "python", "java" or "javascript".

    Raises:
        UnreadableCalls: the text is not a list of calls, and nothing else.
    """
    text = text.strip("`\n ")
    text = f"{'' if text.startswith('[') else '['}{text}{'' if text.endswith(']') else ']'}"
    if language == "python":
        return read_python(text)
    return [read_named_text(text[1:-1], language)]


def read_python(text: str) -> list[Call]:
    """A Python list, tuple or set of calls, or one call. Positional arguments vanish; nothing is executed.

    A name stands for its own text; so does a call without named arguments inside an argument.

    Raises:
        UnreadableCalls: it is something else.
    """
    try:
        body = ast.parse(text.strip().strip("'"), mode="eval").body
        if isinstance(body, ast.Call):
            return [_call(body)]
        if not isinstance(body, ast.List | ast.Tuple | ast.Set):
            raise UnreadableCalls("this is neither a call nor a list of calls")
        return [_call(element) for element in body.elts]
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise UnreadableCalls(str(error) or type(error).__name__) from error


def _call(call: ast.expr) -> Call:
    if not isinstance(call, ast.Call):
        raise UnreadableCalls(f"{ast.unparse(call):.60} is no call")
    parts: list[str] = []
    function = call.func
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    if isinstance(function, ast.Name):
        parts.append(function.id)
    return Call(".".join(reversed(parts)), {keyword.arg: _value(keyword.value) for keyword in call.keywords})


def _value(node: ast.expr | None) -> Any:
    """What an argument stands for. Raises what `read_python` catches where it has no plain value."""
    match node:
        case ast.Constant():
            return "..." if node.value is Ellipsis else _small(node.value)
        case ast.UnaryOp(operand=ast.Constant(value=number)):
            return -number  # type: ignore[operator]  # whatever the sign: the public checker reads +5 and ~5 as -5, too
        case ast.List():
            return [_value(element) for element in node.elts]
        case ast.Tuple():
            return tuple(_value(element) for element in node.elts)
        case ast.Dict():
            return {_value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
        case ast.BinOp():
            return _computed(node)
        case ast.Name():
            return node.id
        case ast.Call() if not node.keywords:
            return ast.unparse(node)
        case ast.Call():
            call = _call(node)
            return {call.name: call.arguments}
        case ast.Subscript():
            return f"{ast.unparse(node.value)}[{ast.unparse(node.slice)}]"
    raise UnreadableCalls("an argument is neither a value, a name nor a call")


_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_SIGNS: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}


def _computed(node: ast.expr) -> Any:
    """The value of an operation on constants, as Python has it, where it is of a reasonable size."""
    match node:
        case ast.Constant():
            return _small(node.value)
        case ast.List() | ast.Tuple():
            elements = [_computed(element) for element in node.elts]
            if any(isinstance(element, list | tuple) for element in elements):
                raise UnreadableCalls("an operation has nested lists")
            return elements if isinstance(node, ast.List) else tuple(elements)
        case ast.UnaryOp():
            return _SIGNS[type(node.op)](_computed(node.operand))
        case ast.BinOp() if type(node.op) in _OPERATORS:
            left, right = _computed(node.left), _computed(node.right)
            _require_quick(node.op, left, right)
            return _small(_OPERATORS[type(node.op)](left, right))
    raise UnreadableCalls("an operation has other than constant operands")


def _require_quick(kind: ast.operator, left: Any, right: Any) -> None:
    if isinstance(kind, ast.Pow | ast.LShift) and isinstance(right, int) and abs(right) > _MAX_LENGTH:
        raise UnreadableCalls("an exponent is too large")
    if isinstance(kind, ast.Mod) and isinstance(left, str | bytes):
        raise UnreadableCalls("formatting a text is no value")
    if isinstance(kind, ast.Mult):
        for many, times in ((left, right), (right, left)):
            if isinstance(many, Sequence) and isinstance(times, int) and len(many) * times > _MAX_LENGTH:
                raise UnreadableCalls("a repetition is too long")


def _small(value: Any) -> Any:
    if isinstance(value, int) and abs(value) > _MAX_NUMBER:
        raise UnreadableCalls("a number is too large")
    return value


def read_named_text(text: str, language: str) -> Call:
    """One Java or JavaScript call whose arguments are named, as in `run(count = 5, name = "x")`, as texts.

    A value is the source text of an expression; a string in quotes loses them, and positional arguments vanish. This
    is a small reader for what policies write, where the leaderboard parses the whole language: brackets and quotes must
    close and values must look like one expression, but `user:online` passes here, and the body of an anonymous class,
    as in `new HashMap<>() {{ put("a", 1); }}`, is kept, which the leaderboard's reader drops.

    Raises:
        UnreadableCalls: it is something else.
    """
    match = re.fullmatch(r"\s*((?:new\s+)?[\w$]+(?:\s*\.\s*[\w$]+)*)\s*\((.*)\)\s*;?\s*", text, re.DOTALL)
    if not match:
        raise UnreadableCalls("this is no call")
    arguments: dict[str, str] = {}
    for piece in _split(match[2], ","):
        if not piece.strip():
            continue
        named = re.fullmatch(r"\s*([\w$]+)\s*=(?!=)\s*(.*?)\s*", piece, re.DOTALL)
        if not named:
            continue  # positional arguments vanish
        if named[1] in arguments:
            raise UnreadableCalls(f"the argument {named[1]!r} is given twice")
        _require_expression(named[2], language)
        arguments[named[1]] = _plain(named[2])
    return Call(re.sub(r"\s", "", match[1]), arguments)


_TOKEN = re.compile(
    r"""\s+|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|[\w$]+(?:\.\d\w*)?|.""", re.DOTALL
)
_BEFORE_OPERANDS = frozenset(
    ("new", "typeof", "instanceof", "in", "of", "function", "async", "await", "void", "delete")
)
_ENDS = "+-*/%=<>&|^,:?!~"


def _require_expression(text: str, language: str) -> None:
    """Refuse what is no expression for the plainest of reasons: blank, two values side by side, a loose operator."""
    tokens = [token for token in _TOKEN.findall(text) if not token.isspace()]
    if not tokens or tokens[-1] in _ENDS or tokens[0] in "*/%=<>&|^,.:?)":
        raise UnreadableCalls(f"{text!r:.60} is no expression")
    if language == "java" and tokens[0] in "[{":
        raise UnreadableCalls(f"{text!r:.60} is no expression of Java")
    for left, right in pairwise(tokens):
        if _is_operand(left) and _is_operand(right) and left not in _BEFORE_OPERANDS and right not in _BEFORE_OPERANDS:
            raise UnreadableCalls(f"{left:.30} and {right:.30} stand side by side")


def _is_operand(token: str) -> bool:
    return token[0] in "\"'`$_" or token[0].isalnum()


def _plain(value: str) -> str:
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'" else value


def _split(text: str, separator: str) -> list[str]:
    """Pieces of `text` between separators outside of brackets and quotes."""
    pieces, depth, quote, start, index = [], 0, "", 0, 0
    while index < len(text):
        sign = text[index]
        if quote:
            if sign == "\\":
                index += 1
            elif sign == quote:
                quote = ""
        elif sign in "\"'`":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        elif sign == separator and depth == 0:
            pieces.append(text[start:index])
            start = index + 1
        if depth < 0:
            raise UnreadableCalls("a bracket closes that never opened")
        index += 1
    if depth or quote:
        raise UnreadableCalls("a bracket or quote never closes")
    return [*pieces, text[start:]]
