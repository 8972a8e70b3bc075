"""The grammar of answers: lists, relations, sets, intervals, matrices, units and words around expressions."""

# ruff: noqa: RUF001 (mathematical signs are meant)

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from . import exact, units
from .expressions import CLOSING, MAX_DEPTH, ExpressionParser
from .normal_form import fold, plain
from .numerals import MAX_DIGITS, number
from .real_sets import is_set
from .tokens import Token, UnknownCommand, Unreadable, tokenize
from .tree import (
    Brackets,
    Chain,
    Clock,
    Expression,
    Items,
    Matrix,
    Number,
    Numeral,
    Operation,
    Quantity,
    Ratio,
    Reading,
    Symbol,
    Text,
    Union,
    Without,
    integer,
    is_expression,
    negated,
)

MAX_LENGTH = 4000
"""Characters of an answer that is read as a formula; a single number may have more digits."""

_RELATIONS = ("=", "≠", "<", ">", "≤", "≥", "∈", "≈", "≡")
_SEPARATORS = (",", ";", "and", "or")
_MATRICES = frozenset(["matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "array", "vmatrix"])
_NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
}
_BASE_NAMES = {word: str(value) for word, value in _NUMBER_WORDS.items() if 2 <= value <= 16}
_ALL_REALS = frozenset(
    ("all real numbers", "all reals", "the real numbers", "real numbers", "the set of all real numbers")
)
_BASE_NUMERAL = re.compile(
    r"(-?)([0-9A-Za-z]{1,64}(?:\.[0-9A-Za-z]{1,64})?)_(?:\{\(?(\d{1,2}|[a-z]{3,9})\)?\}|(\d{1,2}))"
)
_FONT_AROUND = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\{([0-9A-Za-z]+)\}(?=_|\}$)")


@dataclass(frozen=True, slots=True)
class Answer:
    """A side of a comparison as it was read."""

    folded: str
    plain: str
    """Without fonts and needless spaces: equal plain texts are equal answers."""
    reading: Reading | None
    """None where the formula is not understood; `problem` says why."""
    problem: str = ""
    is_foreign: bool = False
    """It holds a command that is not known here, but may be to math-verify."""


def read(text: str) -> Answer:
    """Read a bare answer in LaTeX, calculator notation or words. It never raises, and takes time linear in the text."""
    folded = fold(text)
    words = plain(folded)
    if len(folded) > MAX_LENGTH and not (len(folded) <= 2 * MAX_DIGITS and re.fullmatch(r"-?[\d,.\s\u2009]+", folded)):
        return Answer(folded, words, None, "too long")
    if found := _BASE_NUMERAL.fullmatch(_FONT_AROUND.sub(r"\1", folded).replace(" ", "")):
        return Answer(folded, words, _numeral(*found.groups()))
    try:
        tokens = tokenize(folded)
    except Unreadable as problem:
        return Answer(folded, words, None, str(problem))
    try:
        return Answer(folded, words, AnswerParser(tokens).answer())
    except Unreadable as problem:
        if any(token.kind == "word" for token in tokens):
            return Answer(folded, words, Text(words.casefold()))
        return Answer(folded, words, None, str(problem), is_foreign=isinstance(problem, UnknownCommand))


def _numeral(sign: str, digits: str, braced_base: str | None, bare_base: str | None) -> Reading:
    subscript = _BASE_NAMES.get(braced_base or "", braced_base) or bare_base or ""
    base = int(subscript) if re.fullmatch(r"[0-9]{1,2}", subscript) else 0
    digits = digits.upper()
    is_numeral = 2 <= base <= 36 and (digits[:1].isdigit() or base > 10)
    if not (is_numeral and all(int(digit, 36) < base for digit in digits if digit != ".")):
        return (
            Text(f"{sign}{digits}_{subscript}".casefold())
            if len(digits) > 1
            else Symbol(f"{digits.lower()}_{subscript}")
        )
    if base == 10:
        return number(digits) if not sign else negated(number(digits))
    return Numeral(sign + (digits.lstrip("0") or "0"), base)


class AnswerParser(ExpressionParser):
    """Reads a whole answer."""

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self._is_union = False

    def answer(self) -> Reading:
        """The one reading of all tokens.

        Raises:
            Unreadable: they are no answer that is understood here.
        """
        items = self.items()
        if self.peek().kind != "end":
            raise Unreadable(f"{self.peek().text!r} behind the answer")
        if not items:
            raise Unreadable("nothing is there")
        if len(items) == 1:
            return items[0]
        if self._is_union and all(map(is_set, items)):
            return Union(tuple(items))
        return Items(tuple(items))

    def items(self) -> list[Reading]:
        """Items with commas, semicolons, "and" or "or" between them, up to what ends them."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        items: list[Reading] = []
        while self.peek().kind != "end" and not self.sees(")", "]", "}", "\\}", "⟩"):
            items.append(self._item())
            if not self.sees(*_SEPARATORS):
                break
            while self.sees(*_SEPARATORS):
                self._is_union |= self.take().text == "or"
        self._depth -= 1
        return items

    # --- one item

    def _item(self) -> Reading:
        outer, self.unit = self.unit, ""
        members, relations = [self._member()], []
        while self.sees(*_RELATIONS):
            relations.append(self.take().text)
            members.append(self._member())
        if self.peek().kind == "name" and self.peek().text == "pmod":
            self.take()
            relations.append("mod")
            members.append(self.argument() if self.sees("{") else self._member())
        self.unit = outer
        return Chain(tuple(members), tuple(relations)) if relations else members[0]

    def _member(self) -> Reading:
        if self.sees("≈", "=") and not self._is_in_chain():
            self.take()  # "≈ 8.24" says 8.24
        self.unit = ""
        if self._names_a_function():
            return self._function_name()
        token = self.peek()
        if token.kind == "word":
            return self._words()
        sign = self.peek().text == "-"
        if self.peek(sign).kind == "number" and self.peek(sign + 1).text == "_":
            return self._numeral("-" if self.accept("-") else "")
        value = self._sets()
        if self.accept(":"):
            return self._ratio(value)
        unit = self.unit or self._unit_words()
        if unit in ("am", "pm"):
            return _clock([value], unit)
        self.unit = ""
        if unit and is_expression(value):
            return Quantity(value, unit)  # type: ignore[arg-type]
        return value

    def _numeral(self, sign: str) -> Reading:
        digits = self.take().text
        self.expect("_")
        return _numeral(sign, digits, None, self._subscript())

    def _is_in_chain(self) -> bool:
        return self.position > 0 and self.tokens[self.position - 1].text not in (*_SEPARATORS, "(", "[", "{", "\\{")

    def _words(self) -> Reading:
        parts = []
        while self.peek().kind in ("word", "letter", "number"):
            parts.append(self.take().text)
        words = " ".join(parts).casefold()
        if words in _ALL_REALS:
            return Symbol("ℝ")
        return Text(words)

    def _names_a_function(self) -> bool:
        """f(x), f'(x), f^{-1}(x) or N(n, m) with a relation behind it: a name, not a product."""
        tokens, index = self.tokens, self.position + 1
        if [token.text for token in tokens[index : index + 5]] == ["^", "{", "-", "1", "}"]:
            index += 5
        while index < len(tokens) and tokens[index].text == "'":
            index += 1
        if self.peek().kind not in ("letter", "name") or index >= len(tokens) or tokens[index].text != "(":
            return False
        index += 1
        first = index
        while index < len(tokens) and (tokens[index].kind in ("letter", "number", "word") or tokens[index].text == ","):
            index += 1
        return index > first and [token.text for token in tokens[index : index + 2]] in (
            [")", "="], [")", "<"], [")", "≤"], [")", ">"], [")", "≥"],
        )  # fmt: skip

    def _function_name(self) -> Reading:
        parts = []
        while not self.sees(*_RELATIONS):
            parts.append(self.take().text)
        return Symbol("".join(parts))

    def _unit_words(self) -> str:
        words: list[str] = []
        in_text = True
        while True:
            token = self.peek()
            is_letter = token.kind == "letter" and (token.in_text or bool(words))
            if token.kind == "word" or is_letter or (words and self.sees("/")):
                in_text &= token.in_text or token.kind != "word"
                words.append(self.take().text.lower())
            elif words and self.sees("^"):
                self.take()
                exponent = self.argument()
                words.append("squared" if exponent == integer(2) else "cubed" if exponent == integer(3) else "?")
            elif words and self.sees(".", "\\\\"):
                self.take()
            else:
                break
        if not words:
            return ""
        if words in (["am"], ["pm"]):
            return words[0]
        unit = units.unit_of(words, in_text=in_text)
        if unit is None:
            raise Unreadable(f"the words {' '.join(words)!r} behind a value")
        return unit

    # --- sets

    def _sets(self) -> Reading:
        left = self.sum()
        while self.sees("∪", "∖"):
            sign, right = self.take().text, self.sum()
            if sign == "∖":
                left = Without(left, right)
            else:
                parts = left.parts if isinstance(left, Union) else (left,)
                left = Union((*parts, right))
        return left

    def bracketed(self, opening: str) -> Reading:
        """What stands in brackets that were just opened: an expression in parentheses, or items."""
        if opening == "\\{" and self._is_set_builder():
            return self._condition()
        outer_unit, outer_bars = self.unit, self._num_bars
        self._num_bars = 0
        items = self.items()
        closing = self.expect(*CLOSING[opening])
        self.unit, self._num_bars = outer_unit, outer_bars
        is_set = opening == "\\{" or (opening == "{" and len(items) != 1)
        if len(items) == 1 and not is_set and (opening, closing) in (("(", ")"), ("[", "]"), ("{", "}")):
            return items[0]
        if is_set:
            return Brackets("{", tuple(items), "}")
        if opening == "⟨":
            return Brackets("(", tuple(items), ")")
        return Brackets(opening, tuple(items), closing)

    def _is_set_builder(self) -> bool:
        """x | or x ∈ ℝ :, in braces that were just opened."""
        bar = 3 if self.peek(1).text == "∈" and self.peek(2).text == "ℝ" else 1
        return self.peek().kind == "letter" and self.peek(bar).text in ("|", ":")

    def _condition(self) -> Reading:
        """The condition of {x : condition}, which says all that the set says."""
        while not self.accept("|", ":"):
            self.take()
        condition = self._item()
        self.expect("\\}")
        return condition

    # --- ratios, times, matrices

    def _ratio(self, first: Reading) -> Reading:
        parts = [first, self.sum()]
        while self.accept(":"):
            parts.append(self.sum())
        half = self.peek().text if self.peek().kind == "word" else ""
        if half in ("am", "pm"):
            self.take()
            return _clock(parts, half)
        if not all(is_expression(part) for part in parts):
            raise Unreadable("a ratio of something other than numbers")
        return Ratio(tuple(part for part in parts if isinstance(part, Number | Symbol | Operation)))

    def matrix(self) -> Reading:
        """A matrix, whose `\\begin` was just taken; a determinant of at most three rows is written out."""
        self.expect("{")
        name = self.take().text
        self.expect("}")
        if name not in _MATRICES:
            raise UnknownCommand(f"the environment {name}")
        if name == "array" and self.sees("{"):
            while not self.accept("}"):
                self.take()
        rows: list[tuple[Reading, ...]] = []
        while not (self.peek().kind == "name" and self.peek().text == "end"):
            row = [self._item()]
            while self.accept("&"):
                row.append(self._item())
            rows.append(tuple(row))
            if not self.accept("\\\\") and self.peek().text != "end":
                raise Unreadable("a matrix that is not closed")
        self.position += 4  # \end { name }
        if not rows or len({len(row) for row in rows}) != 1:
            raise Unreadable("a matrix of uneven rows")
        return _determinant(rows) if name == "vmatrix" else Matrix(tuple(rows))


def _clock(parts: list[Reading], half: str) -> Reading:
    fields = [int(part.value) for part in parts if isinstance(part, Number) and part.value.denominator == 1]
    if len(fields) != len(parts) or len(fields) > 3 or not all(0 <= field < 60 for field in fields):
        raise Unreadable("no time of day")
    return Clock((*fields, 0, 0)[:3], half)


def _determinant(rows: list[tuple[Reading, ...]]) -> Expression:
    cells = [[cell for cell in row if isinstance(cell, Number | Symbol | Operation)] for row in rows]
    if not 1 <= len(rows) <= 3 or any(len(row) != len(rows) for row in cells):
        raise Unreadable("a determinant of more than three rows")
    if len(cells) == 1:
        return cells[0][0]
    total: Expression = integer(0)
    for column, cell in enumerate(cells[0]):
        minor = [tuple(row[:column] + row[column + 1 :]) for row in cells[1:]]
        term = Operation("*", (cell, _determinant(list(minor))))
        total = Operation("+", (total, negated(term) if column % 2 else term))
    return total


def exact_number(text: str) -> Fraction | None:
    """The value of an answer that is one rational number, with or without a unit; None where it is anything else."""
    reading = read(text).reading
    if isinstance(reading, Quantity):
        reading = reading.value
    if not isinstance(reading, Number | Operation):
        return None
    try:
        return exact.value_of(reading)
    except exact.TooLarge:
        return None


def number_word(text: Text) -> Number | None:
    """The whole number up to twenty that a word names."""
    value = _NUMBER_WORDS.get(text.words)
    return None if value is None else integer(value)
