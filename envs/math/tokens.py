"""The characters of a folded answer as tokens: numbers, letters, names, words and signs."""

# ruff: noqa: RUF001 (mathematical signs are meant)

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from . import units
from .normal_form import GROUP_MARK, word_set

Kind = Literal["number", "letter", "name", "word", "sign", "end"]

FUNCTIONS = word_set(
    """
    sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth sech csch arcsinh arccosh
    arctanh ln log lg exp sqrt cbrt gcd lcm min max sgn Re Im binom abs floor ceil factorial
    """
)
_ALIASES = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "arsinh": "arcsinh", "arcosh": "arccosh",
    "artanh": "arctanh", "cosec": "csc", "tg": "tan", "ctg": "cot", "infinity": "∞", "inf": "∞", "infty": "∞",
    "Infinity": "∞", "pi": "π", "Pi": "Π", "varphi": "phi", "varepsilon": "epsilon", "vartheta": "theta",
}  # fmt: skip
GREEK = word_set(
    """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
    Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar Re Im
    """
)
_SIGNS = {
    "times": "*", "cdot": "*", "ast": "*", "div": "/", "pm": "±", "mp": "∓", "le": "≤", "leq": "≤", "leqslant": "≤",
    "ge": "≥", "geq": "≥", "geqslant": "≥", "lt": "<", "gt": ">", "ne": "≠", "neq": "≠", "in": "∈", "approx": "≈",
    "equiv": "≡", "cup": "∪", "cap": "∩", "setminus": "∖", "backslash": "∖", "lvert": "|", "rvert": "|", "vert": "|",
    "mid": "|", "{": "\\{", "}": "\\}", "lbrace": "\\{", "rbrace": "\\}", "langle": "⟨", "rangle": "⟩", "lfloor": "⌊",
    "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")",
    "%": "%", "$": "\\$", "circ": "°", "degree": "°", "colon": ":", "\\": "\\\\", "&": "&", "lor": "or",
    "vee": "or", "_": "_", "simeq": "≈", "sim": "≈", "emptyset": "∅", "varnothing": "∅", "prime": "'", "#": "#",
    "land": "and", "dots": "...", "ldots": "...", "cdots": "...", "implies": "⇒", "Rightarrow": "⇒", "to": "→",
}  # fmt: skip
_TEXT_FONTS = word_set(
    """
    text textbf textit textrm textsf texttt textnormal mbox mathrm mathbf mathit mathsf mathtt mathcal boxed fbox
    operatorname bold boldsymbol bm
    """
)
_PROSE_FONTS = frozenset(["text", "textbf", "textit", "textrm", "textsf", "texttt", "textnormal", "mbox"])
_PLAIN_SIGNS = {"<=": "≤", ">=": "≥", "!=": "≠", "==": "=", "<": "<", ">": ">", "·": "*"}

_DIGITS = re.compile(rf"\d{{1,3}}(?:[{GROUP_MARK}]\d{{3}})+(?!\d)|\d{{1,3}}(?: \d{{3}})+(?![ ]?\d)|\d+")
_COMMA_CHAIN = re.compile(r"\d+(?:,\d+)+")
_COMMA_GROUPS = re.compile(r"\d{1,3}(?:,\d{3})+")
_FRACTION = re.compile(r"\.\d+|\.(?!\.)(?=\s*(?:$|[^\w\s]))")
_POWER_OF_TEN = re.compile(r"[eE][+-]?\d+(?![\d.]*[A-Za-z])")
_TOKEN = re.compile(
    r"""(?P<space>[\s\u2009]+)|(?P<digit>(?=\.?\d))|\\(?P<command>[A-Za-z]+\*?|.)|(?P<letters>[A-Za-z]+)
    |(?P<sign><=|>=|!=|==|\.\.\.|!!|.)""",
    re.VERBOSE | re.DOTALL,
)
_WORDS_ALONE = re.compile(r"[A-Za-z][A-Za-z\s,;'-]*")
_SPACED_RUN = re.compile(r"\s{1,9}([A-Za-z]+)(?![A-Za-z(])")
_BARE_HALF_OF_DAY = re.compile(r"(?<=\d)\s{0,9}([apAP])\.\s?[mM](?![A-Za-z])\.?")
_HALF_OF_DAY = re.compile(r"(?<![A-Za-z])([apAP])\.?\s?[mM](?![A-Za-z])\.?")


class Unreadable(Exception):
    """The text is no formula that is understood here; the message says why."""


class UnknownCommand(Unreadable):
    """It holds a command or environment that is not known here, but may be to math-verify."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `text` of a name is its canonical form, of a word its lower case."""

    kind: Kind
    text: str
    is_spaced: bool = False
    """There is a space before it."""
    in_text: bool = False
    """It stands in `\\text{}`."""


END = Token("end", "")


def tokenize(folded: str) -> list[Token]:
    """The tokens of a folded answer. Linear in its length.

    Raises:
        Unreadable: a brace of `\\text{` is not closed.
    """
    scanner = _Scanner(_BARE_HALF_OF_DAY.sub(r" \1m", folded))
    scanner.scan(is_prose=_is_words(folded))
    return scanner.tokens


def _is_words(text: str) -> bool:
    """Words alone: "tea" and "AB" are no products of letters, but "ab" and "sin x" are mathematics."""
    if not _WORDS_ALONE.fullmatch(text):
        return False
    if len(text) > 1 and text.isupper() and text.isalpha():
        return True
    runs = re.findall(r"[A-Za-z]+", text)
    return max(map(len, runs)) >= 3 and not any(run in FUNCTIONS or run in _ALIASES or run in GREEK for run in runs)


def _looks_like_word(run: str) -> bool:
    return (
        units.is_unit(run) or len(run) >= 5 or (len(run) == 4 and run.lower().endswith("s")) or units.speaks(run)
    ) and run not in FUNCTIONS


class _Scanner:
    """One pass over the text. Commas group digits only outside round, square and set brackets."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens = text, list[Token]()
        self._position, self._depth, self._is_spaced = 0, 0, False
        self._ungrouped_until = 0

    def scan(self, *, is_prose: bool) -> None:
        text = self.text
        while self._position < len(text):
            found = _TOKEN.match(text, self._position)
            assert found is not None
            self._position = found.end()
            if found["space"]:
                self._is_spaced = True
            elif found["digit"] is not None:
                self._number()
            elif found["command"]:
                self._command(found["command"], is_prose)
            elif found["letters"]:
                self._letters(found["letters"], is_prose)
            else:
                self._sign(found["sign"], is_prose)

    def _add(self, kind: Kind, text: str, *, in_text: bool = False) -> None:
        self.tokens.append(Token(kind, text, self._is_spaced, in_text))
        self._is_spaced = False

    def _number(self) -> None:
        text, start = self.text, self._position
        chain = _COMMA_CHAIN.match(text, start) if start >= self._ungrouped_until else None
        if chain and self._depth == 0 and _COMMA_GROUPS.fullmatch(chain.group()):
            end = chain.end()
        else:
            if chain:
                self._ungrouped_until = chain.end()
            digits = _DIGITS.match(text, start)
            end = digits.end() if digits else start
        for part in (_FRACTION, _POWER_OF_TEN):
            if found := part.match(text, end):
                end = found.end()
        self._position = end
        self._add("number", re.sub(rf"[,\s{GROUP_MARK}]", "", text[start:end]))

    def _command(self, name: str, is_prose: bool) -> None:
        name = name.rstrip("*") or name
        if name in _TEXT_FONTS:
            self._font(name)
        elif name in ("mathbb", "overline", "overrightarrow", "vec", "hat", "bar", "widehat", "overleftrightarrow"):
            mark = "" if name == "mathbb" else f"{name} "
            content = "".join(self._group().split())
            self._add("name", {"R": "ℝ", "Z": "ℤ", "N": "ℕ", "Q": "ℚ", "C": "ℂ"}.get(content, f"{mark}{content}"))
        elif name in ("triangle", "angle", "measuredangle"):
            found = re.compile(r"(?:\s{0,3}[A-Z](?:_\{?\d{1,3}\}?)?){0,4}").match(self.text, self._position)
            assert found is not None
            self._position = found.end()
            self._add("name", name + " " + re.sub(r"[\s{}]", "", found.group()))
        elif name in _SIGNS:
            self._sign(_SIGNS[name], is_prose)
        elif len(name) == 1 and not name.isalpha():
            if name not in "()[]":  # delimiters of mathematics
                raise UnknownCommand(f"the command \\{name}")
            self._is_spaced = True
        else:
            self._add("name", _ALIASES.get(name, name))

    def _font(self, name: str) -> None:
        content = self._group()
        inner = _Scanner(_HALF_OF_DAY.sub(r" \1m ", content) if name in _PROSE_FONTS else content)
        stripped = content.strip()
        if len(stripped) == 1 and stripped.isalpha():
            self._add("letter", stripped, in_text=True)
            return
        is_function = (stripped in FUNCTIONS or stripped in _ALIASES) and not units.is_unit(stripped)
        inner._is_spaced = self._is_spaced or content[:1] == " "
        inner.scan(
            is_prose=not is_function and (name in _PROSE_FONTS or re.fullmatch(r"[~A-Za-z\s]+", content) is not None)
        )
        self.tokens.extend(inner.tokens)
        self._is_spaced = content[-1:] == " "

    def _letters(self, run: str, is_prose: bool) -> None:
        lower = run.lower()
        if lower in ("and", "or"):
            return self._sign(lower, is_prose)
        if is_prose and len(run) > 1:
            return self._add("word", lower, in_text=True)
        if lower in ("am", "pm", "min", "sq", "cu") and self._stands_behind_a_number():
            return self._add("word", lower)
        if run in FUNCTIONS or run in _ALIASES or run in GREEK:
            return self._add("name", _ALIASES.get(run, run))
        if self._is_environment():
            return self._add("word", run)
        if _looks_like_word(run) or (len(run) > 2 and self._is_beside_a_word()):
            return self._add("word", lower)
        function = next((name for name in ("sin", "cos", "tan", "log", "ln") if run.startswith(name)), "")
        if function:
            self._add("name", function)
        for letter in run[len(function) :]:
            self._add("letter", letter, in_text=is_prose)
        return None

    def _stands_behind_a_number(self) -> bool:
        return (
            bool(self.tokens) and self.tokens[-1].kind == "number" and self.text[self._position :][:1] not in ("(", "{")
        )

    def _is_beside_a_word(self) -> bool:
        """Whether only spaces part it from a word: "red" of "5 red balls" is no product."""
        if self._is_spaced and self.tokens and self.tokens[-1].kind == "word":
            return True
        following = _SPACED_RUN.match(self.text, self._position)
        return following is not None and _looks_like_word(following[1])

    def _is_environment(self) -> bool:
        return len(self.tokens) > 1 and self.tokens[-1].text == "{" and self.tokens[-2].text in ("begin", "end")

    def _sign(self, sign: str, is_prose: bool) -> None:
        if sign in ("(", "[", "\\{"):
            self._depth += 1
        elif sign in (")", "]", "\\}"):
            self._depth -= 1
        if sign == "$" and self.text.count("$") - self.text.count("\\$") != 1:
            self._is_spaced = True  # delimiters of mathematics; a single one is a currency
        elif not (is_prose and sign in ".'-\"!?" and self._depth == 0):
            self._add("sign", _PLAIN_SIGNS.get(sign, sign))
        else:
            self._is_spaced = True

    def _group(self) -> str:
        """The content of the braces that follow, or the one character."""
        text = self.text
        start = self._position
        while start < len(text) and text[start].isspace():
            start += 1
        if text[start : start + 1] != "{":
            self._position = start + 1
            return text[start : start + 1]
        depth, position = 0, start
        while position < len(text):
            character = text[position]
            if character == "\\":
                position += 2
                continue
            depth += (character == "{") - (character == "}")
            position += 1
            if depth == 0:
                self._position = position
                return text[start + 1 : position - 1]
        raise Unreadable("a brace is not closed")
