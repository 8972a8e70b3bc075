"""Answers in one way of writing: fonts, spacing and Unicode that change no meaning are folded away."""

# ruff: noqa: RUF001 (look-alike characters are what this module is about)

import re
import unicodedata

GROUP_MARK = "\u2009"
"""Stands between the groups of three digits of a number, however that was written."""

_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ"
_SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙ"
_SCRIPT_TO_ASCII = str.maketrans(_SUPERSCRIPTS + _SUBSCRIPTS, "0123456789+-()ni" + "0123456789+-()n")
_SCRIPT = re.compile(f"(?P<power>[{_SUPERSCRIPTS}]+)|[{_SUBSCRIPTS}]+")
_SYMBOLS = str.maketrans(
    {
        "−": "-", "–": "-", "‐": "-", "‑": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
        "÷": r"\div ", "∕": "/", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ",
        "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ", "∈": r"\in ", "°": r"^\circ ", "∪": r"\cup ", "∩": r"\cap ",
        "∅": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ",
        "⌉": r"\rceil ", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "∠": r"\angle ", "△": r"\triangle ",
        "∖": r"\setminus ", "∶": ":", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}",
        "ℂ": r"\mathbb{C}", "′": "'", "’": "'", "‘": "'", "“": '"', "”": '"', "⟨": r"\langle ", "⟩": r"\rangle ",
        "\u2061": "", "\u2062": " ", "\u200b": "", "\ufeff": "", "\u00a0": " ", "\u202f": GROUP_MARK,
        "√": r"\sqrt ", "∛": r"\cbrt ", "…": r"\ldots ", "→": r"\to ", "∧": r"\wedge ", "∨": r"\text{ or }",
    }
)  # fmt: skip
_GREEK_NAMES = """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi o pi rho sigma sigma tau upsilon phi chi
    psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega
    """
_GREEK = dict(zip("αβγδεζηθικλμνξοπρςστυφχψωΓΔΘΛΞΠΣΦΨΩ", _GREEK_NAMES.split(), strict=True))
_OFTEN_ESCAPED_TWICE = "[dtc]?frac|sqrt|pi|text|left|right|cdot|times|pm|infty|cup|circ|mathrm|begin|end"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Text that was escaped twice. After a row break a command has a backslash of its own, which is the third one.
        (rf"(?<!\\)\\\\(?=(?:{_OFTEN_ESCAPED_TWICE})(?![a-zA-Z]))", r"\\"),
        (r"<\|[a-z_]{1,20}\|>", " "),
        (r"\\{2}\s?\[\d{1,3}(?:\.\d{1,3})?\s?(?:pt|em|ex|mm|cm)\]", r"\\\\ "),
        (r"\\(?:text)?color\s{0,9}\{[^{}]*\}|\\underline(?![a-zA-Z])", " "),
        (r"\\frac\{\\text\{([^{}]*)\}\}\{\\text\{([^{}]*)\}\}", r"\\text{\1/\2}"),
        (r"\^\s?(?:\{\s?\\prime\s?\}|\\prime(?![a-zA-Z]))", "'"),
        (r"\{\s?:\s?\}", ":"),
        (r"(?<=\d)\s?[xX]\s?(?=10\s?(?:\^|\*\*))", r"\\times "),
        (r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\s{0,9}\.?", ""),
        (
            r"\\(?:displaystyle|textstyle|limits|nolimits|mathstrut|strut|hfill|nonumber|bf|rm|it|sf|tt|large|Large|LARGE"
            r"|huge|Huge|small|normalsize)(?![a-zA-Z])",
            " ",
        ),
        (r"\\[hv]?phantom\s{0,9}(?:\{[^{}]*\}|[^\s{\\])", " "),
        (r"\\[hv]space\*?\s{0,9}\{[^{}]*\}", " "),
        (r"(?<=\d)\s?(?:\{\s?,\s?\}|,\s?\\!)\s{0,9}(?=\d{3})", GROUP_MARK),
        (r"\\!\s{0,9}", ""),
        (r"(?<=\d)(?:\\[,;:]|\\thinspace(?![a-zA-Z]))\s{0,9}(?=\d{3})", GROUP_MARK),
        (r"(?<!\\)\\[,;:> ]|~|\\q?quad|\\(?:thinspace|enspace|medspace)(?![a-zA-Z])", " "),
        (r"\\{1,2}$", ""),
        (r"(?<=[\w)}])\s?\*\*\s?(?=[\w({+-]|\\[A-Za-z])", "^"),
    )
)  # fmt: skip
_FONT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt|cal)|mbox|boxed|fbox|operatorname\*?|bold|boldsymbol|bm)"
    r"\s*\{([^{}]*)\}"
)
_WHOLE_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,9}\{(.*)\}", re.DOTALL)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_WORDS = re.compile(r"[^\W\d_]+(?:[\s,'-]+[^\W\d_]+)*")
_HALF_OF_DAY = re.compile(r"(?<![a-z])([ap])\.?\s?m(?![a-z])\.?", re.IGNORECASE)


def word_set(words: str) -> frozenset[str]:
    """The words of a text with spaces between them."""
    return frozenset(words.split())


def fold(text: str) -> str:
    """`text` with Unicode and spacing commands made uniform, without the delimiters around it; fonts stay."""
    if not text.isascii():
        text = _SCRIPT.sub(_script, text)
        text = "".join(map(_folded_character, text))
    text = without_delimiters(text)  # first, as two asterisks are a power as well
    if any(sign in text for sign in "\\*<~{^"):
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
    return without_delimiters(text)


def plain(folded: str) -> str:
    """Folded text without fonts and needless spaces, words in lower case: equal where two answers look the same."""
    text = folded
    for _ in range(8):
        shown = _FONT.sub(r" \1 ", text)
        if shown == text:
            break
        text = shown
    text = without_delimiters(text.replace(r"\$", "$"))
    text = _HALF_OF_DAY.sub(r"\1m", text)
    # A space between two letters or digits separates them: "1 2" is not 12.
    text = re.sub(r"(?<![^\W_])\s+|\s+(?![^\W_])", "", re.sub(r"\s+", " ", text))
    if re.fullmatch(r"\([A-Za-z]\)", text):
        return text[1:-1]
    return text.casefold() if len(text) > 1 and _WORDS.fullmatch(text) else text


def without_delimiters(text: str) -> str:
    """`text` without the mathematics delimiters and bold marks around it, and without a full stop at its end."""
    while True:
        text = text.strip()
        if text.endswith((".", ",", ";")) and not text.endswith(".."):
            text = text[:-1].rstrip()
        for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`")):
            inside = text[len(opening) : -len(closing)]
            if len(text) > len(opening + closing) and text == opening + inside + closing and opening not in inside:
                text = inside
                break
        else:
            if not (is_boxed := _WHOLE_BOX.fullmatch(text)) or not _is_balanced(is_boxed[1]):
                return text
            text = is_boxed[1]


def _is_balanced(text: str) -> bool:
    """Whether every brace is closed, and none that was not opened."""
    depth = 0
    for brace in _BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth < 0:
            return False
    return depth == 0


def _script(found: re.Match[str]) -> str:
    inside = found.group().translate(_SCRIPT_TO_ASCII)
    return f"^{{{inside}}}" if found["power"] else f"_{{{inside}}}"  # not NFKC, which would turn 10² into 102


def _folded_character(character: str) -> str:
    if character.isascii() or character == GROUP_MARK:
        return character
    if (folded := character.translate(_SYMBOLS)) != character:
        return folded
    if character in _GREEK:
        return f"\\{_GREEK[character]} "
    compatible = unicodedata.normalize("NFKC", character)
    if "⁄" in compatible:
        numerator, denominator = compatible.split("⁄")
        if not (numerator and denominator):
            return f"{numerator}/{denominator}"  # the stroke alone
        return rf"\frac{{{numerator}}}{{{denominator}}}"
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.digit(character))
    if unicodedata.category(character) == "Zs":
        return " "
    return compatible if len(compatible) == 1 and unicodedata.category(character) != "No" else character
