"""What a family of tasks produces, and the words, names and files that all families share."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random

from .tree import Entry, File, Tree

_WORDS = """
anchor apple arrow autumn bamboo basket beacon birch bottle branch bridge bucket butter button cabin candle canyon
carbon castle cedar chalk cherry circle clover cobalt copper coral cotton crystal delta desert dragon ember engine
falcon feather forest fossil garden ginger glacier granite hammer harbor hazel helmet island ivory jasmine jungle
kettle ladder lantern lemon linen lumber magnet maple marble meadow mirror needle nickel oasis olive onion orchid
otter paddle paper pebble pepper pillow planet pocket prairie quartz rabbit raven ribbon river rocket saddle salmon
shadow silver spider spring stone summit sunset temple thunder timber tunnel turtle valley velvet violet walnut willow
window winter yarrow zephyr
""".split()  # noqa: SIM905  (far shorter than a list)
_PEOPLE = """
ada alan bela boris carla chen dana diego elif emma farid fiona gita hana hugo ines ivan jana jonas kemal kira lars
lena mara milan nadia noor olga oscar paula pavel quinn rana remy rosa sami sofia tomas uma vera viktor wanda yara zoe
""".split()  # noqa: SIM905  (far shorter than a list)


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """A task in a file system."""

    prompt: str
    before: Tree
    """What the policy finds."""
    commands: str
    """Shell commands that do it, or show the answer."""
    after: Tree | None = None
    """What must be there in the end; None where nothing may change."""
    answer: str | None = None
    """What must be said, where the task asks a question."""
    exact_modes: bool = False
    """True: all permissions are compared, not only whether a file can be executed."""

    def __post_init__(self) -> None:
        assert self.answer or self.after is not None, "there must be something to do"
        assert self.answer or dict(self.after or {}) != dict(self.before), "the goal must not be reached already"

    @property
    def goal(self) -> Tree:
        """What must be there in the end."""
        return self.before if self.after is None else self.after


Family = Callable[[Random, int], Exercise]
"""Makes an exercise from a generator and a difficulty: 1 (few files), 2 (more, deeper) or 3 (names with spaces)."""


def words(rng: Random, count: int) -> list[str]:
    """So many different words."""
    return rng.sample(_WORDS, count)


def people(rng: Random, count: int) -> list[str]:
    """So many different names."""
    return rng.sample(_PEOPLE, count)


def prose(rng: Random, low: int, high: int) -> str:
    """From `low` to `high` lines of words."""
    return lines(" ".join(words(rng, rng.randint(2, 6))) for _ in range(rng.randint(low, high)))


def lines(items: Iterable[str]) -> str:
    """One item a line, each ended by a newline."""
    return "".join(f"{item}\n" for item in items)


def files(texts: Mapping[str, str]) -> dict[str, Entry]:
    """Ordinary files with these texts."""
    return {path: File(text.encode()) for path, text in texts.items()}


def folder_name(rng: Random) -> str:
    """A name for the folder that a task is about."""
    return "-".join(words(rng, 2))


def paths(rng: Random, count: int, difficulty: int, *, below: str, suffixes: Iterable[str]) -> list[str]:
    """So many different paths below a folder; no two of their names are equal. All suffixes are used in turn."""
    inner = [f"{below}/{word}" for word in words(rng, 1 + difficulty)]
    if difficulty >= 2:
        inner.append(f"{inner[0]}/{words(rng, 1)[0]}")
    if difficulty >= 3:
        inner.append(f"{below}/{' '.join(words(rng, 3))}")  # of three words, as no file's name is
    names = rng.sample(
        [f"{one}{between}{two}" for one in words(rng, 8) for two in words(rng, 8) for between in "-_"], count
    )
    if difficulty >= 3:
        names = [name.replace("-", " ") for name in names]
    endings = list(suffixes)
    return [f"{rng.choice([below, *inner])}/{name}{endings[i % len(endings)]}" for i, name in enumerate(names)]


def quoted(text: str) -> str:
    """As one word of the shell."""
    return shlex.quote(text)
