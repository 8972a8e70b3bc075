"""Wordle: guess a secret word from marks on the letters of guesses."""

import re
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from llmgym.episode import EnvResponse, GeneratedTasks, InitialMessages, MessageEnv, Task, TaskSource, split_of
from llmgym.errors import DataError, DataNotFoundError
from llmgym.messages import AssistantMessage, Message
from llmgym.scoring import Score

from ..prompt import PromptWording
from .moves import last_line, limits_of, require_range
from .wordle_rules import PRESENT, best_guess, candidates, marks_of
from .wordle_words import WORDS

_LENGTH = 5
_MIN_WORDS = 50
_PROMPT = """\
Guess the secret English word of 5 letters in {guesses} guesses. Each letter of a guess is marked:
+ it is in the right place, ? it is elsewhere in the word, - it is not in the word, or not once more.
The last line of each message is your guess, 5 letters and nothing else.

{prompt}"""


class WordleEnv(MessageEnv):
    """A secret word of five letters; each guess is answered with a mark for each letter, and finding the word earns 1.

    Each task begins with clues, random words with their marks, so that tasks differ; they cost no guess. Any five
    letters are a guess; a message that is none costs one. Secrets of the test split are never those of the training
    split.

    Args:
        words: a file with a word of five letters on each line, at least 50 of them, instead of our own list.
        guesses: after so many the task ends; 1 to 20.
        clues: of each task; 1 to 4.
        letters_reward: the part of the reward that letters in the right place earn, a fifth of it for each place
            where none was right before; finding the word earns the rest of 1.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the clues go, and "{guesses}", if it likes, where the
            number of guesses goes.

    Raises:
        ConfigError: a setting is out of range.
        DataError: with the first task: a line of the file is no such word, or there are too few;
            DataNotFoundError: there is no such file.
    """

    def __init__(
        self,
        words: str | None = None,
        *,
        guesses: int = 6,
        clues: int = 1,
        letters_reward: float = 0.0,
        system_prompt: str = "",
        prompt_template: str = _PROMPT,
    ) -> None:
        require_range("guesses", guesses, 1, 20)
        require_range("clues", clues, 1, 4)
        require_range("letters_reward", letters_reward, 0.0, 1.0)
        self.words, self.guesses, self.clues, self.letters_reward = words, guesses, clues, letters_reward
        self.wording = PromptWording(system_prompt, prompt_template.replace("{guesses}", str(guesses)))
        self.default_limits = limits_of(guesses)  # type: ignore[misc]  # budgets depend on the settings
        self._secret, self._num_guesses = "", 0
        self._places: frozenset[int] = frozenset()

    def tasks(self, split: str) -> TaskSource:
        """Generated from the secrets of the split.

        Raises:
            ConfigError: there is no such split.
            DataError: the file of words cannot be used.
        """
        secrets = [word for word in _words(self.words) if split_of(word) == split]
        return GeneratedTasks(partial(self._make_task, secrets), split=split)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:  # noqa: ARG002  nothing is random
        assert task.answer is not None
        self._secret, self._num_guesses, self._places = task.answer, 0, frozenset()
        return self.wording.initial_messages(task)

    def step(self, message: AssistantMessage) -> EnvResponse:
        said = last_line(message.content).lower()
        self._num_guesses += 1
        if not re.fullmatch(rf"[a-z]{{{_LENGTH}}}", said):
            return self._reply(f"guess {_LENGTH} letters, a to z", said=said[:100], reward=0.0)
        before = self._total()
        marks = marks_of(said, self._secret)
        self._places |= {place for place, mark in enumerate(marks) if mark == PRESENT}
        if said == self._secret:
            return self._reply(f"{said} {marks}", said=said, reward=1.0 - before, is_found=True)
        return self._reply(f"{said} {marks}", said=said, reward=self._total() - before)

    def solve(self, task: Task) -> Sequence[str]:
        """Guesses that tell most, with the clues alone as a start; sure to find words of our own list in six."""
        assert task.answer is not None
        words = _words(self.words)
        clues = [(guess, marks) for guess, marks in (line.split() for line in task.prompt.split("\n"))]
        guesses: list[str] = []
        while not guesses or guesses[-1] != task.answer:
            guesses.append(best_guess(words, candidates(words, clues)))
            clues.append((guesses[-1], marks_of(guesses[-1], task.answer)))
        return guesses

    def _total(self) -> float:
        """What was earned by letters so far."""
        return self.letters_reward * len(self._places) / _LENGTH

    def _reply(self, reply: str, *, said: str, reward: float, is_found: bool = False) -> EnvResponse:
        is_over = is_found or self._num_guesses >= self.guesses
        left = self.guesses - self._num_guesses
        text = reply if is_over else f"{reply}\n{left} {'guess' if left == 1 else 'guesses'} left"
        expected = self._secret if is_over else None
        score = Score(reward=reward, extracted=said, expected=expected, reason="found" if is_found else "not found")
        return EnvResponse(messages=(Message("user", text),), score=score, terminated=is_over)

    def _make_task(self, secrets: Sequence[str], rng: np.random.Generator) -> Task:
        words = _words(self.words)
        secret = secrets[int(rng.integers(len(secrets)))]
        others = (words[index] for index in rng.permutation(len(words)))
        clues = [word for word in (next(others) for _ in range(self.clues + 1)) if word != secret][: self.clues]
        prompt = "\n".join(f"{clue} {marks_of(clue, secret)}" for clue in clues)
        return Task(key="", prompt=prompt, answer=secret)


def _words(path: str | None) -> tuple[str, ...]:
    return WORDS if path is None else _read_words(path)


@lru_cache(maxsize=8)
def _read_words(path: str) -> tuple[str, ...]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataNotFoundError(f"The file of words {path!r} cannot be read: {error}.") from error
    words: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        word = line.strip().lower()
        if word and not re.fullmatch(rf"[a-z]{{{_LENGTH}}}", word):
            raise DataError(f"{path}:{number} holds {line[:40]!r}, but a line holds a word of {_LENGTH} letters a-z.")
        if word:
            words[word] = None
    for split in ("train", "test"):
        if len(words) < _MIN_WORDS or not any(split_of(word) == split for word in words):
            raise DataError(f"{path} holds {len(words)} words, but at least {_MIN_WORDS} are needed. Add more.")
    return tuple(words)
