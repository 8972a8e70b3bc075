"""A place in a list of tokens, and the steps a parser takes from it."""

from __future__ import annotations

from .tokens import END, Token, Unreadable

MAX_TOKENS = 1500


class Cursor:
    """Reads tokens from left to right.

    Raises:
        Unreadable: there are more of them than any answer has.
    """

    def __init__(self, tokens: list[Token]) -> None:
        if len(tokens) > MAX_TOKENS:
            raise Unreadable("too long")
        self.tokens = tokens
        self.position = 0

    def peek(self, ahead: int = 0) -> Token:
        index = self.position + ahead
        return self.tokens[index] if index < len(self.tokens) else END

    def take(self) -> Token:
        token = self.peek()
        self.position += 1
        return token

    def sees(self, *signs: str) -> bool:
        token = self.peek()
        return token.kind == "sign" and token.text in signs

    def accept(self, *signs: str) -> bool:
        if self.sees(*signs):
            self.position += 1
            return True
        return False

    def expect(self, *signs: str) -> str:
        if not self.sees(*signs):
            raise Unreadable(f"{self.peek().text or 'the end'!r} where {signs[0]!r} was expected")
        return self.take().text
