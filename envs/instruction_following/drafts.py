"""Texts about a topic, built to keep constraints: what a reference answer to a generated prompt is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..draw import Draw

TOPICS = (
    "lighthouse", "bicycle", "garden", "library", "river", "market", "violin", "bakery", "museum", "harbour", "desert",
    "telescope", "carpet", "windmill", "kitchen", "lantern", "castle", "forest", "bridge", "notebook", "teapot",
    "train", "vineyard", "mountain", "theatre", "compass", "meadow", "clock", "village", "piano", "canal", "balloon",
    "fountain", "workshop", "greenhouse", "sailboat", "puppet", "cathedral", "glacier", "beehive",
)  # fmt: skip
_SENTENCES = (
    "Every {topic} has a story that deserves to be told.",
    "People often remember their first {topic} for many years.",
    "A good {topic} brings calm to a busy afternoon.",
    "My neighbour once painted a {topic} on an old wooden door.",
    "Children ask more questions about a {topic} than grown people do.",
    "Nobody knows who made the first {topic} in our valley.",
    "Some visitors cross half the country for such a thing.",
    "In winter it looks smaller and somehow more serious.",
    "The light of early morning suits it best.",
    "My grandmother kept a small drawing of one beside her bed.",
    "Whoever looks closely will find something new each time.",
    "It takes patience to understand how all of this works.",
    "A quiet hour near a {topic} can change your mood.",
    "Old photographs show how much has changed since then.",
    "We sat there until the sun went down behind the hills.",
    "Even simple things become strange when we watch them long enough.",
    "Travellers write about it in letters that smell of rain.",
    "One day I hope to show this {topic} to my friends.",
    "The best part is how little it asks from anyone.",
    "Nothing about it seems important until it is gone.",
)
_WITH_WORD = (
    "It also reminds me of {word} in a curious way.",
    "Somebody mentioned {word} while we were walking home.",
    "Then we talked about {word} for half an hour.",
    "Perhaps {word} explains why I like it so much.",
)
KEYWORDS = (
    "pepper", "silver", "journey", "thunder", "marble", "feather", "secret", "copper", "shadow", "honey", "ribbon",
    "whisper", "candle", "velvet", "anchor", "puzzle", "saddle", "meteor", "ginger", "parcel",
)  # fmt: skip
ENDINGS = ("That is all I know.", "Thank you for reading this.", "Now it is your turn.", "Let us go there soon.")
POSTSCRIPTS = ("Bring a warm coat if you visit.", "Please keep this between us.", "I will send a picture next week.")
OPENINGS = ("today", "later", "outside", "sometimes", "here", "meanwhile")
FILLED_IN = ("[name]", "[address]", "[date]", "[phone number]")


@dataclass
class Draft:
    """A text in the making: sentences, and how they are put together. It holds neither commas nor digits of its own."""

    topic: str
    sentences: list[str]
    paragraphs: int = 1
    """Parts that the sentences are put into."""
    between: str = "\n\n"
    """What stands between parts."""
    headings: list[str] = field(default_factory=list)
    """One before each part, where there are any."""
    opening: tuple[int, str] | None = None
    """Number of a part, from 1, and the word that it begins with."""
    bullets: int = 0
    title: str = ""
    postscript: str = ""
    ending: str = ""
    is_quoted: bool = False
    is_json: bool = False
    case: str = ""
    """"lower", "upper", or as it is."""

    @classmethod
    def about(cls, topic: str, draw: Draw) -> Draft:
        """Seven sentences about a topic, the first of which names it."""
        named = [sentence for sentence in _SENTENCES if "{topic}" in sentence]
        first = draw.one(named)
        others = draw.some([sentence for sentence in _SENTENCES if sentence != first], 6)
        return cls(topic, [sentence.format(topic=topic) for sentence in (first, *others)])

    def mention(self, word: str, draw: Draw, times: int = 1) -> None:
        """Add sentences with a word, each once."""
        self.sentences += [frame.format(word=word) for frame in draw.some(_WITH_WORD, times)]

    def text(self) -> str:
        """The whole text."""
        count = len(self.sentences)
        ends = [count * part // self.paragraphs for part in range(self.paragraphs + 1)]
        parts = [self.sentences[start:end] for start, end in pairwise(ends)]
        bodies = [self._body(number, part) for number, part in enumerate(parts, start=1)]
        text = self.between.join(bodies)
        if self.title:
            text = f"<<{self.title}>>\n{text}"
        text += f"\nP.S. {self.postscript}" if self.postscript else ""
        text += f"\n{self.ending}" if self.ending else ""
        if self.is_json:
            text = f'{{"text": "{text}"}}'
        text = f'"{text}"' if self.is_quoted else text
        return {"lower": text.lower(), "upper": text.upper()}.get(self.case, text)

    def _body(self, number: int, sentences: Sequence[str]) -> str:
        listed = sentences[len(sentences) - self.bullets :] if self.bullets else ()
        body = " ".join(sentences[: len(sentences) - len(listed)])
        body += "".join(f"\n* {sentence}" for sentence in listed)
        if self.opening and self.opening[0] == number:
            body = f"{self.opening[1].capitalize()} {body[0].lower()}{body[1:]}"
        return f"{self.headings[number - 1]}\n{body}" if self.headings else body
