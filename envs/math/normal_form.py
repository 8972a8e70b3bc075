"""Answers in one way of writing: fonts, spacing and Unicode that change no meaning are folded away."""

# ruff: noqa: RUF001 (look-alike characters are what this module is about)

import re
import unicodedata

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SYMBOLS = str.maketrans(
    {
        "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ",
        "≠": r"\ne ", "°": r"^\circ ", "∪": r"\cup ", "∅": r"\emptyset ", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
    }
)  # fmt: skip
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\\\(?=(?:d?frac|sqrt|pi|text|left|right|cdot)(?![a-zA-Z]))", r"\\"),  # text that was escaped twice
        (r"\\(?:left|right|displaystyle|big|Big|bigg|Bigg)(?![a-zA-Z])", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\(?:leq|leqslant)(?![a-zA-Z])", r"\\le"),
        (r"\\(?:geq|geqslant)(?![a-zA-Z])", r"\\ge"),
        (r"\\(?:mathrm|text)\s*\{\s*e\s*\}", "e"),
        (r",\\!\s*", ","),
        (r"\\!", ""),
        (r"(?<!\\)\\[,;: ]\s*|~|\\q?quad(?![a-zA-Z])", " "),
        (r"\\([$%])", r"\1"),
        (r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?", "°"),
        (r"(?<=[\w)}])\s*\*\*\s*(?=[\w({\\-])", "^"),
        (r"\{,\}", ","),
        (r"√\s*(\d+|[a-zA-Z])", r"\\sqrt{\1}"),
        (r"\\sqrt\s*(\d|[a-zA-Z])", r"\\sqrt{\1}"),
        (r"\\frac\s*(\d)\s*(\d)(?!\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\{[^{}]*\})\s*(\d)(?!\d)", r"\1{\2}"),
    )
)
_FONT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|boxed|fbox)\s*\{([^{}]*)\}")
_WORDS = re.compile(r"[^\W\d_]+(?:[\s,'-]+[^\W\d_]+)*")


def fold(text: str) -> str:
    """`text` with Unicode, spacing commands, synonyms and the delimiters around it made uniform; fonts stay."""
    text = "".join(map(_folded_character, text)) if not text.isascii() else text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return _without_delimiters(text)


def plain(folded: str) -> str:
    """Folded text without fonts and needless spaces, words in lower case: equal where two answers look the same."""
    text = folded
    for _ in range(8):
        shown = _FONT.sub(r" \1 ", text)
        if shown == text:
            break
        text = shown
    text = _without_delimiters(text)
    # A space between two letters or digits separates them: "1 2" is not 12.
    text = re.sub(r"(?<![^\W_])\s+|\s+(?![^\W_])", "", re.sub(r"\s+", " ", text))
    if re.fullmatch(r"\([A-Za-z]\)", text):
        return text[1:-1]
    return text.casefold() if len(text) > 1 and _WORDS.fullmatch(text) else text


def _without_delimiters(text: str) -> str:
    text = text.strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**")):
        inside = text[len(opening) : -len(closing)]
        if len(text) > len(opening + closing) and text == opening + inside + closing and opening not in inside:
            text = inside.strip()
    return text.rstrip(".").rstrip() if not text.endswith("..") else text


def _folded_character(character: str) -> str:
    if character.isascii():
        return character
    if (folded := character.translate(_SYMBOLS)) != character:
        return folded
    if (power := character.translate(_SUPERSCRIPTS)) != character:
        return f"^{{{power}}}"  # not NFKC, which would turn 10² into 102
    compatible = unicodedata.normalize("NFKC", character)
    if "⁄" in compatible:
        numerator, denominator = compatible.split("⁄")
        if not (numerator and denominator):
            return f"{numerator}/{denominator}"  # the stroke alone
        return rf"\frac{{{numerator}}}{{{denominator}}}"
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.digit(character))
    return compatible if len(compatible) == 1 and unicodedata.category(character) != "No" else character
