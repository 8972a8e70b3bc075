"""Asserts taken apart on the host: calls of the program, and what must hold of their values.

    assert sorted(f([3, 1])) == [1, 3]    ->    call f([3, 1]);  sorted(v0) == [1, 3]

Only the calls go to the sandbox. What must hold is worked out here, on values of exact builtin types, by a small
evaluator that knows literals, operators and a few functions; no text is ever run as Python.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from .contract import Call, Value

_MAX_BITS = 100_000
_MAX_ITEMS = 1_000_000

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (abs, all, any, len, max, min, round, sorted, sum)},
    **{"math.isclose": math.isclose, "isclose": math.isclose, "math.isnan": math.isnan, "math.isinf": math.isinf},
    **{"math.sqrt": math.sqrt, "math.floor": math.floor, "math.ceil": math.ceil, "isinstance": isinstance},
}
_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, Fraction, Decimal)
}
_CONSTANTS = {"math.pi": math.pi, "math.e": math.e, "math.inf": math.inf, "math.nan": math.nan, "math.tau": math.tau}
_IMPORTS = {"math", "fractions", "decimal"}

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}


class NotPlain(Exception):
    """The text holds something that only Python itself can work out."""


@dataclass(frozen=True)
class AssertCase:
    """One assert: calls of the program, and an expression over their values `v0`, `v1`, ..."""

    text: str
    calls: tuple[Call, ...]
    expression: str

    def judge(self, values: Sequence[Value]) -> str:
        """Why the assert fails for these values, one for each call; nothing where it holds."""
        for call, value in zip(self.calls, values, strict=True):
            if value.error:
                return f"{call.function} raised {value.error}: {value.message}"
        names = {f"v{index}": value.value for index, value in enumerate(values)}
        try:
            holds = bool(_evaluate(_parsed(self.expression), names))
        except (NotPlain, TypeError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
            return f"{type(error).__name__} in {self.text!r}: {error}"
        if holds:
            return ""
        got = ", ".join(
            f"{call.function}(...) gave {short_repr(value.value)}"
            for call, value in zip(self.calls, values, strict=True)
        )
        return f"{self.text} does not hold: {got}"


@functools.lru_cache(maxsize=10_000)
def _parsed(expression: str) -> ast.expr:
    """The tree of an expression; a task's tests are judged for every program that is tried on it."""
    return ast.parse(expression, mode="eval").body


def split_asserts(statements: Sequence[str], *, renamed: Mapping[str, str] | None = None) -> list[AssertCase] | None:
    """The statements as cases, or None where one of them is no plain assert.

    Args:
        statements: Python text; imports of math, fractions and decimal beside asserts are taken.
        renamed: functions of the program by their name in the statements, such as {"candidate": "add"}: needed where
            it differs from their own, or where Python has a function of that name, such as {"sum": "sum"}.
    """
    try:
        nodes = [node for statement in statements for node in ast.parse(statement).body]
        return split_nodes(nodes, renamed or {})
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def split_check(source: str, function: str) -> list[AssertCase] | None:
    """The asserts of a `check(candidate)` function, as HumanEval has them, or None where they are not plain."""
    try:
        nodes = ast.parse(source).body
        checks = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == "check"]
        others = [node for node in nodes if node not in checks and not _is_metadata(node)]
        if len(checks) != 1 or len(checks[0].args.args) != 1:
            return None
        return split_nodes([*others, *checks[0].body], {checks[0].args.args[0].arg: function})
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def split_nodes(nodes: Sequence[ast.stmt], renamed: Mapping[str, str]) -> list[AssertCase] | None:
    cases = []
    for node in nodes:
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and node.test.value:
            continue  # `assert True` tests nothing
        if isinstance(node, ast.Assert):
            try:
                cases.append(_split(node, renamed))
            except (NotPlain, TypeError, ValueError, ArithmeticError, LookupError):
                return None
        elif not (_is_docstring(node) or _is_known_import(node) or isinstance(node, ast.Pass)):
            return None
    return cases or None


def _split(node: ast.Assert, renamed: Mapping[str, str]) -> AssertCase:
    text = ast.unparse(node)
    splitter = _Splitter(renamed)
    expression = splitter.visit(node.test)
    if not splitter.calls:
        raise NotPlain("it calls nothing")
    _check_plain(expression, len(splitter.calls))
    return AssertCase(text, tuple(splitter.calls), ast.unparse(expression))


class _Splitter(ast.NodeTransformer):
    """Replaces each call of the program by the name of its value."""

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self.renamed = renamed
        self.calls: list[Call] = []

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = ast.unparse(node.func)
        if name not in self.renamed and (name in _FUNCTIONS or name in _TYPES):
            return self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or any(keyword.arg is None for keyword in node.keywords):
            raise NotPlain(name)
        args = [_evaluate(argument, {}) for argument in node.args]
        kwargs = {str(keyword.arg): _evaluate(keyword.value, {}) for keyword in node.keywords}
        self.calls.append(Call(function=self.renamed.get(name, name), args=args, kwargs=kwargs))
        return ast.Name(id=f"v{len(self.calls) - 1}", ctx=ast.Load())


def _check_plain(expression: ast.expr, num_values: int) -> None:
    """Raise `NotPlain` unless the evaluator knows every part of the expression."""
    known = (ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare)
    values = {f"v{index}" for index in range(num_values)}
    skipped: set[ast.AST] = set()
    for node in ast.walk(expression):
        if isinstance(node, ast.Dict) and None in node.keys:
            raise NotPlain(ast.unparse(node))
        if isinstance(node, ast.BinOp) and not any(isinstance(part, ast.Name) for part in ast.walk(node)):
            _evaluate(node, {})  # a constant that is too large shows now, and not as a failure of each program
        if node in skipped or isinstance(node, (*known, ast.Subscript, ast.Slice, ast.expr_context, ast.keyword)):
            continue
        if isinstance(node, (ast.boolop, ast.cmpop)) or type(node) in _BINARY or type(node) in _UNARY:
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {*_FUNCTIONS, *_TYPES}:
            skipped.update(ast.walk(node.func))
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in _CONSTANTS:
            skipped.update(ast.walk(node))
        elif not (isinstance(node, ast.Name) and (node.id in values or node.id in _TYPES)):
            raise NotPlain(ast.unparse(node))


def _evaluate(node: ast.AST, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.List(elts) | ast.Tuple(elts) | ast.Set(elts):
            items = [_evaluate(item, names) for item in elts]
            return {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)](items)
        case ast.Dict(keys, values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {_evaluate(key, names): _evaluate(value, names) for key, value in pairs if key is not None}
        case ast.UnaryOp(op, operand):
            return _UNARY[type(op)](_evaluate(operand, names))
        case ast.BinOp(left, op, right) if type(op) in _BINARY:
            return _operate(op, _evaluate(left, names), _evaluate(right, names))
        case ast.BoolOp(op, values):
            return _either_or_all(op, values, names)
        case ast.Compare(left, ops, comparators):
            return _compare(_evaluate(left, names), ops, comparators, names)
        case ast.Subscript(value, ast.Slice() as cut):
            bounds = [None if bound is None else _evaluate(bound, names) for bound in (cut.lower, cut.upper, cut.step)]
            return _evaluate(value, names)[slice(*bounds)]
        case ast.Subscript(value, index):
            return _evaluate(value, names)[_evaluate(index, names)]
        case ast.Call(function, args, keywords):
            return _call(ast.unparse(function), args, keywords, names)
        case ast.Name(name) if name in names:
            return names[name]
        case ast.Name(name) if name in _TYPES:
            return _TYPES[name]
        case ast.Attribute() if ast.unparse(node) in _CONSTANTS:
            return _CONSTANTS[ast.unparse(node)]
    raise NotPlain(ast.unparse(node))


def _operate(op: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(op, ast.Pow) and isinstance(left, int) and isinstance(right, int):
        if left.bit_length() * abs(right) > _MAX_BITS:
            raise NotPlain("a power is too large")
    elif isinstance(op, ast.Mult):
        for items, times in ((left, right), (right, left)):
            if hasattr(items, "__len__") and isinstance(times, int) and len(items) * times > _MAX_ITEMS:
                raise NotPlain("a repetition is too long")
    elif isinstance(op, ast.Mod) and isinstance(left, (str, bytes)):
        raise NotPlain("text is not formatted here")
    return _BINARY[type(op)](left, right)


def _either_or_all(op: ast.boolop, values: list[ast.expr], names: Mapping[str, Any]) -> Any:
    result: Any = None
    for value in values:
        result = _evaluate(value, names)
        if bool(result) is isinstance(op, ast.Or):
            break
    return result


def _compare(left: Any, ops: list[ast.cmpop], comparators: list[ast.expr], names: Mapping[str, Any]) -> bool:
    for op, comparator in zip(ops, comparators, strict=True):
        right = _evaluate(comparator, names)
        if not _COMPARE[type(op)](left, right):
            return False
        left = right
    return True


def _call(name: str, args: list[ast.expr], keywords: list[ast.keyword], names: Mapping[str, Any]) -> Any:
    function = _FUNCTIONS.get(name) or _TYPES.get(name)
    if function is None:
        raise NotPlain(name)
    kwargs = {str(keyword.arg): _evaluate(keyword.value, names) for keyword in keywords}
    values = [_evaluate(argument, names) for argument in args]
    if name in ("bytes", "Decimal", "Fraction") and any(len(short_repr(value)) > 50 for value in values):
        raise NotPlain(f"{name} of something long")
    return function(*values, **kwargs)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_known_import(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name in _IMPORTS and alias.asname is None for alias in node.names)
    names = {"Fraction", "Decimal", "isclose"}
    return (
        isinstance(node, ast.ImportFrom)
        and node.module in _IMPORTS
        and all(alias.name in names and alias.asname is None for alias in node.names)
    )


def _is_metadata(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "METADATA"


def short_repr(value: Any, max_chars: int = 100) -> str:
    """At most so many characters of `repr(value)`; a value of the codec never runs code of others by it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of too many digits, or too deep a list
        text = f"<{type(value).__name__}>"
    return text if len(text) <= max_chars else f"{text[:max_chars]}..."
