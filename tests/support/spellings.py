"""Other ways to write a reference answer, and answers that look like it and are wrong. Both follow from a seed.

They work on the text alone, by hand-written rules that know nothing of how answers are read.
"""

import random
import re
from collections.abc import Callable

_FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")  # noqa: RUF001
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_WORDS = re.compile(r"\\(?:text|mbox)\s*\{[^{}]*[a-zA-Z]{2}[^{}]*\}")

Rule = Callable[[str, random.Random], str]


def respellings(reference: str, *, count: int, seed: int) -> list[str]:
    """At most `count` different texts that say the same as `reference`."""
    rng = random.Random(f"{seed} {reference}")
    found: list[str] = []
    for _ in range(20 * count):
        text = reference
        for rule in rng.sample(_RESPELLINGS, rng.randint(1, 4)):
            text = rule(text, rng)
        for wrap in rng.sample(_WRAPPINGS, rng.randint(1, 3)):
            text = wrap(text, rng)
        if text != reference and text not in found:
            found.append(text)
        if len(found) == count:
            break
    return found


def mutations(reference: str, *, count: int, seed: int) -> list[str]:
    """At most `count` different texts that say something else than `reference`."""
    rng = random.Random(f"{seed} {reference}")
    found: list[str] = []
    for _ in range(30 * count):
        text = rng.choice(_MUTATIONS)(reference, rng)
        if text != reference and text not in found:
            found.append(text)
        if len(found) == count:
            break
    return found


def _replaced(*pairs: tuple[str, str]) -> Rule:
    def rule(text: str, rng: random.Random) -> str:
        pattern, replacement = rng.choice(pairs)
        return re.sub(pattern, replacement, text)

    return rule


def _unless_words(rule: Rule) -> Rule:
    return lambda text, rng: text if _WORDS.search(text) or "$" in text else rule(text, rng)


def _is_list(text: str) -> bool:
    return len(_top_level_parts(text)) > 1


def _top_level_parts(text: str) -> list[str]:
    """The parts between commas that stand in no bracket, where a comma does not group digits."""
    parts, depth = [""], 0
    for index, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if (
            character == ","
            and depth == 0
            and text[index - 1 : index] != "\\"
            and not re.match(r",(\\!)?\s?\d{3}(?!\d)", text[index:])
        ):
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _grouped(text: str, rng: random.Random) -> str:
    if not re.fullmatch(r"-?\d{4,}", text):
        return text
    return f"{int(text):,}".replace(",", rng.choice([",", "{,}", r"\,", "\u2009", r",\!"]))


def _as_decimal(text: str, rng: random.Random) -> str:
    if re.fullmatch(r"-?\d{1,15}", text):
        return text + rng.choice([".0", ".00"])
    return text + "0" if re.fullmatch(r"-?\d*\.\d{1,9}", text) else text


def _reordered(text: str, rng: random.Random) -> str:
    parts = _top_level_parts(text)
    if (
        len(parts) < 2
        or "$" in text
        or "=" in text
        or "" in parts
        or re.search(r"\d, ?(\\[!;])* ?\d{3}", text)
        or re.search(r"[a-zA-Z]{4}|and", re.sub(r"\\[a-z]+", "", text))
    ):
        return text
    rng.shuffle(parts)
    return ", ".join(parts)


def _with_unit(text: str, rng: random.Random) -> str:
    if not re.fullmatch(r"-?\d+(\.\d+)?|-?\\frac\{\d+\}\{\d+\}", text):
        return text
    return text + rng.choice(
        [r"\text{ units}", r"\,\text{cm}", r"\mathrm{~m}", " dollars", r"^\circ", r" \text{ square feet}"]
    )


def _named(text: str, rng: random.Random) -> str:
    if _is_list(text) or re.search(
        r"[=<>:]|[A-Z]_|\\(?:le|ge|in|text|mbox)|[a-zA-Z]{2}", re.sub(r"\\[a-z]*frac|\\sqrt|\\pi", "", text)
    ):
        return text
    return f"{rng.choice(['w', 'W_1', 'T'])} = {text}"


def _spaced_commas(text: str, rng: random.Random) -> str:
    if re.search(r"\\[,!]|,\}? ?\d{3}", text):
        return text
    return re.sub(" ?, ?", lambda _: rng.choice([",", ", ", r",\ ", r",\;"]), text)


def _raised(text: str, _: random.Random) -> str:
    return re.sub(r"\^([0-9])(?![0-9^])", lambda found: found[1].translate(_SUPERSCRIPT), text)


def _swapped_sum(text: str, _: random.Random) -> str:
    found = re.fullmatch(r"(\d+|\d*\\sqrt\{?\d+\}?|\d*[a-z](?:\^\d)?) ?\+ ?(\d+|\d*\\sqrt\{?\d+\}?|\d*[a-z])", text)
    return f"{found[2]}+{found[1]}" if found else text


_RESPELLINGS: list[Rule] = [
    _replaced((r"\\[dt]?frac(?![a-z])", r"\\dfrac"), (r"\\[dt]?frac(?![a-z])", r"\\tfrac"), (r"\\dfrac", r"\\frac")),
    _unless_words(_replaced((r"\s*\+\s*", " + "), (r"\s*\+\s*", "+"), (r"(?<=[\d}a-z)])\s*-\s*", " - "))),
    _unless_words(_spaced_commas),
    _replaced((r"\\left|\\right", ""), (r"(?<!\\left)(?<![\w\\}])\(([^()]*)\)$", r"\\left(\1\\right)")),
    _replaced(("-", "\N{MINUS SIGN}"), (r"\\pi(?![a-z])", "π"), (r"\\infty(?![a-z])", "∞")),
    _replaced((r"\\sqrt\{(\d+)\}", r"√\1"), (r"\\pm(?![a-z])", "±")),
    _unless_words(_raised),
    lambda text, _: text.translate(_FULL_WIDTH) if "_" not in text and "," not in text else text,
    _replaced((r"\\cdot(?![a-z])", r"\\times"), (r"\\times(?![a-z])", r"\\cdot"), (r"\\cup(?![a-z])", "\N{UNION}")),
    _replaced((r"\\text\b", r"\\mbox"), (r"\\(?:text|mbox)\b", r"\\mathrm"), (r"\\(?:text|mbox)\b", r"\\textbf")),
    _replaced((r"^(-?)\\frac\{(\d+)\}\{(\d+)\}$", r"\1\2/\3"), (r"\\frac\{(\d)\}\{(\d)\}", r"\\frac\1\2")),
    _replaced((r"\\(?:leq?|leqslant)(?![a-z])", "≤"), (r"\\(?:geq?|geqslant)(?![a-z])", r"\\geq")),
    _replaced((r"\\sqrt\{(\w+)\}", r"\\sqrt {\1}"), (r"\\sqrt ?(\d)(?!\d)", r"\\sqrt{\1}")),
    _replaced((r"\^(\d)(?!\d)", r"^{\1}"), (r"\^\{(\d)\}", r"^\1")),
    _grouped,
    _as_decimal,
    _reordered,
    _with_unit,
    _named,
    _swapped_sum,
]
"""Each leaves a text as it is where it has nothing to say about it."""

_WRAPPINGS: list[Rule] = [
    lambda text, _: text,
    lambda text, _: f" {text} ",
    lambda text, _: f"{text}." if not text.endswith(".") else text,
    lambda text, _: f"${text}$" if "$" not in text else text,
    lambda text, _: rf"\({text}\)" if "$" not in text else text,
    lambda text, _: f"\\[\n{text}\n\\]" if "$" not in text else text,
    lambda text, _: f"$$ {text} $$" if "$" not in text else text,
    lambda text, _: rf"\displaystyle {text}" if "$" not in text else text,
    lambda text, _: rf"\boxed{{{text}}}" if "$" not in text else text,
    lambda text, _: rf"\,{text}\;" if "$" not in text else text,
    lambda text, _: f"**{text}**" if "*" not in text else text,
    lambda text, _: f"\n{text}\n",
    lambda text, _: f"{text}<|im_end|>",
    lambda text, _: f"\u00a0{text} \\quad",
]


def _other_digit(text: str, rng: random.Random) -> str:
    """One digit changed to another: never one of an index, and never in a power of 0 or 1."""
    places = [found.start() for found in re.finditer(r"\d", text) if not re.search(r"_\{?\d*$", text[: found.start()])]
    if not places:
        return text
    place = rng.choice(places)
    digits = [digit for digit in "23456789" if digit != text[place]]
    return text[:place] + rng.choice(digits) + text[place + 1 :]


def _longer_number(text: str, rng: random.Random) -> str:
    """A digit put before a number."""
    found = list(re.finditer(r"(?<![\d.,_{!])\d+", text))
    if not found or re.search(r"\d[,.]\\?!?\s?\d|frac ?\d|\}\d|sqrt ?\d|_|circ", text):
        return text
    place = rng.choice(found).start()
    return text[:place] + rng.choice("123456789") + text[place:]


def _other_sign(text: str, _: random.Random) -> str:
    if (
        _WORDS.search(text)
        or re.fullmatch(r"\W*0*\W*", text)
        or not re.match(r"[\d\\]", text)
        or re.search(
            r"pm|[,:=<>({[]|\\in|\\cup|_|circ",
            re.sub(r"\\frac\{[^{}]*\}\{[^{}]*\}|\^\{[^{}]*\}|\\sqrt\{[^{}]*\}", "", text),
        )
    ):
        return text
    return f"-({text})" if "+" in text or "-" in text[1:] else f"-{text}"


def _one_more(text: str, rng: random.Random) -> str:
    """The answer and another one, in the ways of those who list candidates."""
    other = str(rng.randint(1000, 9999) * 1000 + 7)
    return rng.choice(
        [f"{text} or {other}", f"{other}, {text}", f"{text} \\text{{ or }} {other}", f"\\{{{text}, {other}\\}}"]
    )


def _one_fewer(text: str, rng: random.Random) -> str:
    parts = _top_level_parts(text)
    if len(parts) < 2 or "$" in text or re.search(r"[a-z]{4}|and|or", text):
        return text
    del parts[rng.randrange(len(parts))]
    return ", ".join(parts) if parts[0] != parts[-1] or len(parts) > 1 else parts[0]


def _denied(text: str, rng: random.Random) -> str:
    return rng.choice([f"\\text{{not }} {text}", f"not {text}", f"{text} \\text{{ is wrong}}", f"{text} + 1000003"])


def _other_word(text: str, rng: random.Random) -> str:
    if not _WORDS.fullmatch(text) or re.search(r"\d", text):
        return text
    return rng.choice([r"\text{blue}", r"\text{none of these}", text.replace("}", "ish}"), r"\text{I agree}", "0", "x"])


def _hundredfold(text: str, _: random.Random) -> str:
    return f"{text}00" if re.fullmatch(r"-?[1-9]\d*", text) else text


def _other_bracket(text: str, _: random.Random) -> str:
    if not re.fullmatch(r"[\[(][^()\[\]]*,[^()\[\]]*[\])]", text) or r"\infty" in text:
        return text
    return ("(" if text[0] == "[" else "[") + text[1:]


_MUTATIONS: list[Rule] = [
    _other_digit, _other_digit, _other_digit, _longer_number, _other_sign, _one_more, _one_fewer, _denied,
    _other_word, _hundredfold, _other_bracket,
]  # fmt: skip
