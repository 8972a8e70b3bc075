"""Questions that are answered by searching in documents."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np

from llmgym.episode import EnvResponse, GeneratedTasks, InitialMessages, Limits, Task, TaskSource, ToolEnv
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, ToolCall
from llmgym.scoring import Score
from llmgym.tools import Corpus, Document, FunctionTool, Search, Submit, Tool

from ..math.extraction import visible_text
from ..math.problem_set import ProblemSet, accept_all
from ..prompt import PromptWording
from .articles import corpus_of
from .families import FAMILIES
from .generate import generated_task
from .own_data import question_task
from .scoring import exact_match, f1

DEFAULT_SYSTEM_PROMPT = (
    "Answer the question from the documents. Look for them with the tool `search`, and open one with the tool `read` "
    "by the number in brackets. When you know the answer, call `submit` with it, or write it as your message: the bare "
    "name or number, nothing else."
)
_READING = {
    "type": "object",
    "properties": {"id": {"type": "string", "description": "What stands in brackets where a document was found."}},
    "required": ["id"],
}


class SearchQAEnv(ToolEnv):
    """Questions of one to four steps over a made-up world's articles, or over documents of one's own.

    Everything in a generated world is invented, so that nothing but searching helps, and no world of the test split is
    in the training split. Each generated question has one answer, with its aliases, and such searches as a reader
    would try find all articles that it needs. None has the answer yes or no, or one of the names in the question.

    The answer is normalized as for SQuAD; `parts` of the score hold exact match ("em") and F1 ("f1"). An answer of more
    than `max_answer_words` words earns nothing: else a list of all names would earn some F1.

    Args:
        corpus: a JSONL file of documents, rows with "text" and perhaps "title" and "id". None: a generated world.
        questions: a .jsonl, .json or .parquet file, or an id of the Hugging Face hub, with a question and its answer,
            or a list of answers, in each row. Needed with `corpus`.
        test_questions: the same for the test split. None: the hub's own test split, else a tenth of `questions`.
        columns: the columns of the questions, for example {"prompt": "question", "answer": "aliases"}. By default
            "question", and "answers" or "answer".
        families: names of the families to generate from, see `FAMILIES`. None: all.
        reward: "em" or "f1".
        top_k: documents that a search shows.
        snippet_chars: characters of each that it shows; None for all.
        max_answer_words: of an answer. With questions of one's own, at least those of the longest reference answer.
        seed: of the generated supply.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the question goes.

    Raises:
        ConfigError: a keyword is out of range.
        MissingExtraError: bm25s is not installed.
    """

    default_limits = Limits(turns=16, turn_tokens=512, episode_tokens=4096, context_tokens=32768)

    def __init__(
        self,
        corpus: str | None = None,
        questions: str | None = None,
        test_questions: str | None = None,
        *,
        columns: Mapping[str, str] | None = None,
        families: Sequence[str] | None = None,
        reward: Literal["em", "f1"] = "em",
        top_k: int = 5,
        snippet_chars: int | None = 300,
        max_answer_words: int = 16,
        seed: int = 0,
        system_prompt: str = DEFAULT_SYSTEM_PROMPT,
        prompt_template: str = "{prompt}",
    ) -> None:
        if (corpus is None) != (questions is None):
            raise ConfigError("questions are answered from corpus: give both of them, or none.")
        if corpus is None and (test_questions is not None or columns):
            raise ConfigError("test_questions and columns describe questions, but questions is None. Name them.")
        if corpus is not None and families is not None:
            raise ConfigError(f"families is {families!r}, but questions are not generated. Leave one of the two out.")
        if unknown := set(columns or {}) - {"prompt", "answer"}:
            raise ConfigError(f'columns names {sorted(unknown)}, but it maps "prompt" and "answer".')
        if reward not in ("em", "f1"):
            raise ConfigError(f'reward is {reward!r}, but it must be "em" or "f1".')
        for name, value in (("top_k", top_k), ("max_answer_words", max_answer_words)):
            if value < 1:
                raise ConfigError(f"{name} is {value!r}, but it must be at least 1.")
        self._families = _checked(families)
        self._problem_set = None
        if questions is not None:
            named = tuple(sorted((columns or {}).items()))
            self._problem_set = ProblemSet(questions, test_questions, None, named, question_task, accept_all)
        self._corpus, self._reward, self._top_k, self._snippet_chars = corpus, reward, top_k, snippet_chars
        self._max_answer_words, self._seed = max_answer_words, seed
        self._wording = PromptWording(system_prompt, prompt_template)
        self.tools = self._tools_on(_nothing())  # so that calls can be written before the first reset
        self._task: Task | None = None

    def tasks(self, split: str) -> TaskSource:
        """The tasks of "train" or "test".

        Raises:
            ConfigError: there is no such split, or a reference answer has more words than an answer may have.
            DataError: a row of the questions cannot be used; DataNotFoundError: there is no such file.
        """
        if self._problem_set is None:
            make = partial(generated_task, families=self._families, top_k=self._top_k, split=split)
            return GeneratedTasks(make, split=split, seed=self._seed)
        tasks = self._problem_set.tasks(split)
        longest = max(tasks, key=lambda task: len(str(task.answer).split()))
        if len(str(longest.answer).split()) > self._max_answer_words:
            raise ConfigError(
                f"max_answer_words is {self._max_answer_words}, but the reference answer {longest.answer!r:.80} has "
                "more. Raise it, or leave the question out."
            )
        return tasks

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:
        self._task = task
        corpus = _corpus_of_file(*_version(self._corpus)) if self._corpus else corpus_of(task.metadata["world"])
        self.tools = self._tools_on(corpus)
        self.begin_tools(rng)
        return self._wording.initial_messages(task)

    def answer(self, message: AssistantMessage) -> EnvResponse:
        assert self._task is not None, "answer follows reset"
        said, answers = _said(message.content), self._task.metadata["answers"]
        parts, reason = {"em": 0.0, "f1": 0.0}, f"more than {self._max_answer_words} words"
        if len(said.split()) <= self._max_answer_words:
            parts = {"em": exact_match(said, answers), "f1": f1(said, answers)}
            reason = "the answer" if parts["em"] else "a part of the answer" if parts["f1"] else "another answer"
        score = Score(
            reward=parts[self._reward], parts=parts, extracted=said[:500], expected=self._task.answer, reason=reason
        )
        return EnvResponse(score=score, terminated=True)

    def solve(self, task: Task) -> Sequence[str | ToolCall]:
        """Searches that find what the answer follows from, and the answer."""
        assert task.answer is not None
        queries = task.metadata.get("queries", (task.prompt[:1000],))
        searches = (ToolCall("search", {"query": query}) for query in queries)
        return [*searches, ToolCall("submit", {"answer": task.answer})]

    def _tools_on(self, corpus: Corpus) -> tuple[Tool, ...]:
        return (
            Search(corpus, top_k=self._top_k, snippet_chars=self._snippet_chars),
            FunctionTool(corpus.read, description="Reads a whole document.", parameters=_READING),
            Submit(),
        )


def _said(content: str) -> str:
    """The answer in a message: what follows "Answer:" in its last line, else all of it."""
    text = visible_text(content).strip()
    marked = re.search(r"(?:^|\n)answer:([^\n]*)\Z", text, re.IGNORECASE)
    return (marked[1] if marked else text).strip()


def _checked(families: Sequence[str] | None) -> tuple[str, ...]:
    names = (families,) if isinstance(families, str) else tuple(FAMILIES if families is None else families)
    if not names or set(names) - FAMILIES.keys():
        raise ConfigError(f"families is {families!r}, but each must be one of: {', '.join(FAMILIES)}.")
    return names


def _version(corpus: str) -> tuple[str, int]:
    """The file and when it was changed, so that a new one is read anew; 0 where there is none, which `Corpus` says."""
    path = Path(corpus).expanduser()
    return str(path), path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=1)
def _nothing() -> Corpus:
    return Corpus([Document(id="0", text="")])


@lru_cache(maxsize=4)
def _corpus_of_file(path: str, changed_ns: int) -> Corpus:  # noqa: ARG001  the time is part of the key
    return Corpus(path)
