"""How much a statement grows when its common table expressions are put in where they are named.

SQLite copies them while it prepares a statement, when nothing can stop it: a few dozen, each naming the one before
twice, would fill the memory.
"""

import re
from collections import Counter, defaultdict

_TOKEN = re.compile(
    r"""(?P<skipped>--[^\n]*|/\*.*?(?:\*/|\Z)|[ \t-\r]+)"""
    r"""|(?P<name>'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z)|\[[^\]]*(?:\]|\Z)"""
    r"""|[A-Za-z0-9_$\x80-\U0010ffff]+)"""
    r"""|(?P<mark>.)""",
    re.DOTALL,
)
_ENOUGH = 10**6


def num_subqueries(statement: str) -> int:
    """An upper bound of how many common table expressions are put in, in all; a million stands for any more.

    Expressions that name each other, or are defined within one of the same name, count as a million, too; one that
    names itself is recursive, and is put in once.
    """
    tokens = [_bare(match[0]) for match in _TOKEN.finditer(statement) if not match["skipped"]]
    if "with" not in tokens:
        return 0
    named_in: dict[str, Counter[str]] = defaultdict(Counter)
    owner_of = [""] * len(tokens)
    for name, begin, end in _definitions(tokens):  # outer ones come before those inside them
        if name in named_in and name in owner_of[begin : begin + 1]:
            return _ENOUGH
        named_in[name] += Counter()
        owner_of[begin:end] = [name] * (end - begin)
    for token, owner in zip(tokens, owner_of, strict=True):
        if token in named_in and token != owner:
            named_in[owner][token] += 1
    return min(_ENOUGH, _size("", named_in, {}, ()) - 1)


def _size(name: str, named_in: dict[str, Counter[str]], sizes: dict[str, int], path: tuple[str, ...]) -> int:
    if name in path or len(path) > 200:
        return _ENOUGH
    if name not in sizes:
        inner = (
            count * _size(other, named_in, sizes, (*path, name)) for other, count in named_in.get(name, {}).items()
        )
        sizes[name] = min(_ENOUGH, 1 + sum(inner))
    return sizes[name]


def _definitions(tokens: list[str]) -> list[tuple[str, int, int]]:
    """Of each `name AS (...)` or `name(...) AS (...)`, the name and where what is in parentheses begins and ends."""
    partner, stack = {}, []
    for place, token in enumerate(tokens):
        if token == "(":
            stack.append(place)
        elif token == ")" and stack:
            begin = stack.pop()
            partner[begin], partner[place] = place, begin
    found = []
    for place, token in enumerate(tokens):
        if token != "as" or place == 0:
            continue
        begin = place + 1
        while tokens[begin : begin + 1] in (["not"], ["materialized"]):
            begin += 1
        before = partner.get(place - 1, 0) - 1 if tokens[place - 1] == ")" else place - 1
        if tokens[begin : begin + 1] == ["("] and before >= 0:
            found.append((tokens[before], begin, partner.get(begin, len(tokens))))
    return found


def _bare(token: str) -> str:
    """A name as SQLite compares it: without quotes, in small letters."""
    return (token[1:-1] if token[0] in "'\"`[" and len(token) > 1 else token).lower()
