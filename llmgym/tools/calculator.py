"""An exact calculator. Nothing that a policy writes is ever evaluated as Python."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from .tool import Tool, ToolError

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|(?P<operator>\*\*|//|[-+*/%()^]))")
_MAX_LENGTH = 500
_MAX_DEPTH = 50
_MAX_BITS = 4096
"""Bound on numerator and denominator of every intermediate value: about 1,200 decimal digits."""


class Calculator(Tool):
    """Evaluates `+ - * / // % ** ( )` over whole numbers and decimals, exactly."""

    name = "calculator"
    description = "Evaluates an arithmetic expression exactly."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"expression": {"type": "string", "description": "For example 37*81 or (2+3)/4."}},
        "required": ["expression"],
    }

    def run(self, *, expression: str) -> str:
        return format_exactly(evaluate(expression))


def evaluate(expression: str) -> Fraction:
    """The exact value of an arithmetic expression.

    Raises:
        ToolError: it cannot be read, divides by zero or grows too large; the message says which.
    """
    if len(expression) > _MAX_LENGTH:
        raise ToolError(f"the expression has {len(expression)} characters, at most {_MAX_LENGTH} are allowed")
    tokens, position = [], 0
    text = expression.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ToolError(f"cannot read {text[position:].strip()[:20]!r}")
        tokens.append(match.group("number") or match.group("operator"))
        position = match.end()
    if not tokens:
        raise ToolError("the expression is empty")
    return _Parser(tokens).parse()


def format_exactly(value: Fraction) -> str:
    """A whole number, a terminating decimal, or a fraction in lowest terms."""
    if value.denominator == 1:
        return str(value.numerator)
    odd_part, decimals = value.denominator, 0
    for prime in (2, 5):
        power = 0
        while odd_part % prime == 0:
            odd_part, power = odd_part // prime, power + 1
        decimals = max(decimals, power)
    if odd_part != 1 or decimals > 50:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**decimals // value.denominator).zfill(decimals + 1)
    return f"{'-' if value < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"


class _Parser:
    """Recursive descent with the usual precedence; `**` binds tighter than a sign and to the right."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens, self._next, self._depth = tokens, 0, 0

    def parse(self) -> Fraction:
        value = self._sum()
        if self._next < len(self._tokens):
            raise ToolError(f"unexpected {self._tokens[self._next]!r}")
        return value

    def _take(self, *operators: str) -> str | None:
        if self._next < len(self._tokens) and self._tokens[self._next] in operators:
            self._next += 1
            return self._tokens[self._next - 1]
        return None

    def _sum(self) -> Fraction:
        value = self._product()
        while operator := self._take("+", "-"):
            right = self._product()
            value = _bounded(value + right if operator == "+" else value - right)
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while operator := self._take("*", "/", "//", "%"):
            right = self._signed()
            if operator == "*":
                value = _bounded(value * right)
            elif right == 0:
                raise ToolError("division by zero")
            elif operator == "/":
                value = _bounded(value / right)
            else:
                value = _bounded(Fraction(value // right) if operator == "//" else value % right)
        return value

    def _signed(self) -> Fraction:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ToolError(f"the expression is nested more than {_MAX_DEPTH} deep")
        sign = self._take("+", "-")
        value = self._signed() if sign else self._power()
        self._depth -= 1
        return -value if sign == "-" else value

    def _power(self) -> Fraction:
        base = self._atom()
        if not self._take("**", "^"):
            return base
        exponent = self._signed()
        if exponent.denominator != 1:
            raise ToolError("only whole exponents are allowed")
        if base == 0 and exponent < 0:
            raise ToolError("division by zero")
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) * (bits - 1) > _MAX_BITS:
            raise ToolError("the result is too large")
        return _bounded(base ** int(exponent)) if bits > 1 else Fraction(_unit_power(base, int(exponent)))

    def _atom(self) -> Fraction:
        if self._take("("):
            value = self._sum()
            if not self._take(")"):
                raise ToolError("a closing parenthesis is missing")
            return value
        if self._next == len(self._tokens):
            raise ToolError("the expression ends too early")
        token = self._tokens[self._next]
        if not token[-1].isdigit():
            raise ToolError(f"unexpected {token!r}")
        self._next += 1
        return Fraction(token)


def _unit_power(base: Fraction, exponent: int) -> int:
    """-1, 0 or 1 to any power, however large."""
    if base == 0:
        return int(exponent == 0)
    return -1 if base == -1 and exponent % 2 else 1


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MAX_BITS:
        raise ToolError("the result is too large")
    return value
