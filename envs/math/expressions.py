"""The grammar of expressions: LaTeX and calculator notation, read into the typed tree by recursive descent.

Nothing is evaluated here beyond the digits of a number. Depth and size are bounded, so that no text takes long.
"""

# ruff: noqa: RUF001 (mathematical signs are meant)

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NoReturn

from . import numerals
from .cursor import Cursor
from .normal_form import word_set
from .numerals import number
from .tokens import FUNCTIONS, GREEK, Token, UnknownCommand, Unreadable
from .tree import Brackets, Expression, Matrix, Number, Operation, Reading, Symbol, integer, is_expression, negated

MAX_DEPTH = 40
MAX_FACTORS = 60
CLOSING = {"(": (")", "]"), "[": ("]", ")"), "{": ("}",), "\\{": ("\\}",), "⟨": ("⟩",)}
"""What may close each bracket."""
_BARS = {"|": ("|", "abs"), "⌊": ("⌋", "floor"), "⌈": ("⌉", "ceil")}
_CURRENCIES = {"\\$": "$", "$": "$", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee"}
_FRACTIONS = ("frac", "dfrac", "tfrac", "cfrac")
_BINOMIALS = ("binom", "dbinom", "tbinom")
_BETWEEN_SUMS = {"choose": "binom", "over": "/"}
_ENDS_AN_ITEM = word_set(r") ] } \} , ; = ≠ < > ≤ ≥ ∈ ≈ ≡ and or & \\ ∪ ∖ ∩ ⟩ :") | {""}
_SINGLE_LETTER_UNITS = frozenset("msghlLJNWVAKCF")
_HALF_TURN = Operation("/", (Symbol("π"), integer(180)))
_ANGLES = ("sin", "cos", "tan", "cot", "sec", "csc")


class ExpressionParser(Cursor, ABC):
    """Reads expressions from tokens. A subclass reads what stands in brackets and is more than an expression."""

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self.unit = ""
        """Unit, currency or percent sign seen in the current item."""
        self._depth = 0
        self._num_bars = 0
        self._is_angle = False

    @abstractmethod
    def items(self) -> list[Reading]:
        """Items with commas between them, up to the bracket that ends them."""

    @abstractmethod
    def bracketed(self, opening: str) -> Reading:
        """What stands in brackets that were just opened, and the bracket that closes them."""

    @abstractmethod
    def matrix(self) -> Reading:
        """An environment whose `\\begin` was just taken."""

    # --- sums, products, powers

    def sum(self) -> Reading:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        if self.sees("±", "∓"):
            parts: list[Reading] = [Operation(self.take().text, (integer(0), _value(self.term())))]
        else:
            parts = [self.term()]
        while self.sees("+", "-", "±", "∓"):
            sign, right = self.take().text, _value(self.term())
            if sign in "+-":
                parts.append(right if sign == "+" else negated(right))
            else:
                parts = [Operation(sign, (_sum(parts), right))]
        self._depth -= 1
        if self.peek().kind == "name" and self.peek().text in _BETWEEN_SUMS:
            return Operation(_BETWEEN_SUMS[self.take().text], (_sum(parts), _value(self.sum())))
        return parts[0] if len(parts) == 1 else _sum(parts)

    def term(self) -> Reading:
        left = self.factor()
        for _ in range(MAX_FACTORS):
            token = self.peek()
            if self.accept("*"):
                left = _product(left, self.factor())
            elif self.accept("/"):
                left = Operation("/", (_value(left), _value(self.factor())))
            elif token.kind == "name" and token.text in ("bmod", "mod"):
                self.take()
                left = Operation("mod", (_value(left), _value(self.factor())))
            elif self._starts_factor(token):
                if token.kind == "number" and self.tokens[self.position - 1].kind == "number":
                    raise Unreadable("two numbers side by side")
                left = _product(left, self.power())
            else:
                return left
        return _fail("too many factors")

    def factor(self) -> Reading:
        if self.sees("-", "+"):
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise Unreadable("nested too deeply")
            sign, value = self.take().text, _value(self.factor())
            self._depth -= 1
            return value if sign == "+" else negated(value)
        return self.power()

    def power(self) -> Reading:
        base = self._postfix(self.atom())
        if self.sees("^"):
            self.take()
            exponent = self._exponent()
            return self._postfix(_power(_value(base), exponent))
        return base

    def _exponent(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        if self.sees("{"):
            exponent = self.group()
        elif self.sees("-", "+"):
            sign, value = self.take().text, self._exponent()
            exponent = negated(value) if sign == "-" else value
        else:
            exponent = _value(self.power())  # a tower groups to the right
        self._depth -= 1
        return exponent

    def _postfix(self, value: Reading) -> Reading:
        while True:
            if self.sees("!", "!!"):
                value = Operation(self.take().text, (_value(value),))
            elif self._accept_degree():
                if self._is_angle:
                    value = Operation("*", (_value(value), _HALF_TURN))
                else:
                    self.unit = "°"
                    self._accept_temperature()
            elif self.accept("%"):
                if self.sees("%"):
                    _fail("two percent signs")
                if self.peek().text in _ENDS_AN_ITEM:
                    self.unit = "%"
                else:
                    value = Operation("/", (_value(value), integer(100)))
            elif isinstance(value, Number) and self.peek().kind == "word" and self.peek().text in numerals.SCALES:
                value = numerals.times_power_of_ten(value, numerals.SCALES[self.take().text])
            elif self.sees(*_CURRENCIES) and self.peek(1).kind not in ("number", "letter"):
                self.unit = _CURRENCIES[self.take().text]
            else:
                return value

    def _accept_temperature(self) -> None:
        if self.peek().kind == "letter" and self.peek().text in "CFK" and self.peek(1).text in _ENDS_AN_ITEM:
            self.take()

    def _accept_degree(self) -> bool:
        if self.accept("°"):
            return True
        if not self.sees("^"):
            return False
        following = [self.peek(ahead).text for ahead in (1, 2, 3)]
        length = 2 if following[0] == "°" else 4 if following == ["{", "°", "}"] else 0
        self.position += length
        return length > 0

    def _starts_factor(self, token: Token) -> bool:
        match token.kind:
            case "number":
                return True
            case "letter":
                return not (token.in_text and token.text in _SINGLE_LETTER_UNITS)
            case "name":
                return token.text not in ("bmod", "mod", "pmod", "end", *_BETWEEN_SUMS)
            case "sign":
                return token.text in ("(", "[", "{", "⌊", "⌈") or (token.text == "|" and self._num_bars == 0)
        return False

    # --- atoms

    def atom(self) -> Reading:
        token = self.take()
        match token.kind:
            case "number":
                return self._mixed(number(token.text))
            case "letter":
                return self._symbol(token.text)
            case "name":
                return self._name(token.text)
            case "sign" if token.text in CLOSING:
                return self.bracketed(token.text)
            case "sign" if token.text in _BARS:
                closing, name = _BARS[token.text]
                return self._between_bars(closing, name)
            case "sign" if token.text in _CURRENCIES:
                self.unit = _CURRENCIES[token.text]
                if self.sees(*_CURRENCIES):
                    return _fail("a currency without a number")
                return self.factor() if self.sees("-") else self.atom()
            case "sign" if token.text == "∅":
                return Brackets("{", (), "}")
        return _fail(f"{token.text or 'the end'!r} where a value was expected")

    def group(self) -> Expression:
        """The expression in the braces that follow."""
        self.expect("{")
        outer, self._num_bars = self._num_bars, 0
        value = _value(self.sum())
        self._num_bars = outer
        self.expect("}")
        return value

    def argument(self) -> Expression:
        """An argument as TeX takes it: a group, or one character, a digit being one."""
        if self.sees("{"):
            return self.group()
        token = self.peek()
        if token.kind == "number" and len(token.text) > 1 and token.text.isdigit():
            self.tokens[self.position] = Token("number", token.text[1:])
            return number(token.text[0])
        if token.kind in ("number", "letter", "name"):
            return _value(self.atom())
        return _fail("an argument is missing")

    def _mixed(self, whole: Number) -> Expression:
        """A number with what stands directly behind it: a proper fraction, 3 1/2, or digits that repeat."""
        if "." in self.tokens[self.position - 1].text and self.peek().text.startswith("overline "):
            written = self.tokens[self.position - 1].text
            return numerals.repeating(written, self.take().text.removeprefix("overline "))
        if whole.places is not None or (self.position >= 2 and self.tokens[self.position - 2].text in ("^", "/")):
            return whole
        texts = [self.peek(ahead).text for ahead in range(7)]
        top = bottom = ""
        if texts[0] in _FRACTIONS and texts[1] == texts[4] == "{" and texts[3] == texts[6] == "}":
            top, bottom, length = texts[2], texts[5], 7
        elif texts[0] in _FRACTIONS and len(texts[1]) == 2:
            top, bottom, length = texts[1][0], texts[1][1], 2
        elif texts[0] in _FRACTIONS and len(texts[1]) == len(texts[2]) == 1:
            top, bottom, length = texts[1], texts[2], 3
        elif texts[1] == "/" and self.peek().is_spaced:
            top, bottom, length = texts[0], texts[2], 3
        if not (top.isdecimal() and bottom.isdecimal()):
            return whole
        if not 0 < number(top).value < number(bottom).value:
            return _fail("a whole number and an improper fraction side by side")  # a sum to some, a product to others
        self.position += length
        return Operation("+", (whole, Operation("/", (number(top), number(bottom)))))

    def _symbol(self, name: str) -> Expression:
        while True:
            if self.accept("_"):
                name += "_" + self._subscript()
            elif self.accept("'"):
                name += "'"
            else:
                return Symbol(name)

    def _subscript(self) -> str:
        if not self.accept("{"):
            return self.take().text
        depth, parts = 1, list[str]()
        while True:
            token = self.take()
            if token.kind == "end":
                return _fail("a brace is not closed")
            depth += (token.text == "{") - (token.text == "}")
            if depth == 0:
                return "".join(parts)
            parts.append(token.text)

    def _between_bars(self, closing: str, name: str) -> Expression:
        self._num_bars += closing == "|"
        value = _value(self.sum())
        self._num_bars -= closing == "|"
        self.expect(closing)
        return Operation(name, (value,))

    def _name(self, name: str) -> Reading:
        if name in _FRACTIONS:
            return Operation("/", (self.argument(), self.argument()))
        if name in _BINOMIALS:
            return Operation("binom", (self.argument(), self.argument()))
        if name in ("sqrt", "cbrt"):
            return self._root(3 if name == "cbrt" else 2)
        if name in ("sum", "prod"):
            return self._sum_over(name)
        if name == "begin":
            return self.matrix()
        if name in FUNCTIONS:
            return self._function(name)
        if len(name) > 1 and name.isascii() and name.isalpha() and not name.istitle() and name not in GREEK:
            raise UnknownCommand(f"the command \\{name}")
        return self._symbol(name)

    def _root(self, degree: int) -> Expression:
        index: Expression = integer(degree)
        if degree == 2 and self.accept("["):
            index = _value(self.sum())
            self.expect("]")
        if self.sees("{"):
            radicand = self.group()
        elif self.sees("("):
            self.take()
            radicand = _value(self.bracketed("("))
        else:
            radicand = _value(self.atom())
        return Operation("root", (radicand, index))

    def _function(self, name: str) -> Expression:
        base = exponent = None
        if name == "log" and self.accept("_"):
            base = self.argument()
        elif name in ("min", "max", "gcd", "lcm") and self.sees("_"):
            return _fail(f"{name} over a range")
        if self.sees("^"):
            self.take()
            exponent = self._exponent()
            if exponent == integer(-1) and name in ("sin", "cos", "tan", "sinh", "cosh", "tanh"):
                name, exponent = "arc" + name, None
        outer, self._is_angle = self._is_angle, name in _ANGLES
        args = self._function_arguments()
        self._is_angle = outer
        if name == "exp":
            value: Expression = Operation("^", (Symbol("e"), *args))
        elif name == "factorial":
            value = Operation("!", args)
        elif name == "lg":
            value = Operation("log", (*args, integer(10)))
        elif base is not None:
            value = Operation("log", (*args, base))
        else:
            value = Operation("ln" if name == "log" else name, args)
        return value if exponent is None else _power(value, exponent)

    def _function_arguments(self) -> tuple[Expression, ...]:
        if self.sees("("):
            self.take()
            args = [_value(item) for item in self.items()]
            self.expect(")")
            return tuple(args)
        if self.sees("{"):
            return (self.group(),)
        is_negative = self.accept("-")
        if not self._starts_factor(self.peek()):
            return _fail("a function without an argument")
        value = self.power()
        while self._starts_factor(self.peek()) and not (
            self.peek().kind == "name" and self.peek().text in FUNCTIONS - {"sqrt"}
        ):
            value = _product(value, self.power())
        return (negated(_value(value)) if is_negative else _value(value),)

    def _sum_over(self, name: str) -> Expression:
        self.expect("_")
        self.expect("{")
        index = self.atom()
        self.expect("=")
        low = _value(self.sum())
        self.expect("}")
        self.expect("^")
        high = self.argument()
        body = _value(self.term())
        return Operation(name, (body, _value(index), low, high))


def _value(reading: Reading) -> Expression:
    if isinstance(reading, Number | Symbol | Operation):
        return reading
    return _fail(f"a {type(reading).__name__.lower()} where a value was expected")


def _sum(parts: list[Reading]) -> Expression:
    """The sum as a balanced tree: a long one is not a deep one."""
    if len(parts) == 1:
        return _value(parts[0])
    middle = len(parts) // 2
    return Operation("+", (_sum(parts[:middle]), _sum(parts[middle:])))


def _power(base: Expression, exponent: Expression) -> Expression:
    return Operation("^", (base, exponent))


def _product(left: Reading, right: Reading) -> Reading:
    if isinstance(right, Matrix) and is_expression(left):
        return Matrix(tuple(tuple(_product(left, cell) for cell in row) for row in right.rows))
    scaled = numerals.scientific(left, right)
    return scaled if scaled is not None else Operation("*", (_value(left), _value(right)))


def _fail(reason: str) -> NoReturn:
    raise Unreadable(reason)
