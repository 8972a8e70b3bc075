"""Search in documents of one's own, by BM25."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError, DataNotFoundError
from ..extras import require
from .tool import Tool, ToolError

_MAX_PLACES = 200
"""Of a document, where a snippet may begin."""


@dataclass(frozen=True)
class Document:
    """One text that can be found."""

    id: str
    text: str
    title: str = ""


class Corpus:
    """Documents with an index, made once and shared by all episodes; it never changes.

    Args:
        documents: they, rows with "text" and perhaps "title" and "id", or a file of such rows in JSONL. Without ids
            they are numbered from 0.

    Raises:
        ConfigError: there is no document, or two have one id.
        DataError: a row is no document; the message names its line.
        DataNotFoundError: there is no such file.
        MissingExtraError: bm25s is not installed.
    """

    def __init__(self, documents: str | Path | Iterable[Document | Mapping[str, Any]]) -> None:
        rows = _rows_of_file(Path(documents)) if isinstance(documents, (str, Path)) else documents
        read = [_document(row, number) for number, row in enumerate(rows)]
        self.documents: Mapping[str, Document] = {document.id: document for document in read}
        if not read or len(self.documents) < len(read):
            raise ConfigError(
                f"{len(read)} documents have {len(self.documents)} ids. Give at least one, and each its own id."
            )
        bm25s = require("bm25s", extra="search", purpose="Search in documents")
        words = [_words(f"{document.title} {document.text}") for document in read]
        self._order, self._vocabulary = read, {word for each in words for word in each}
        self._index = bm25s.BM25(backend="numpy", auto_compile=False)
        if self._vocabulary:
            self._index.index(words, show_progress=False)

    def search(self, query: str, *, top_k: int) -> list[Document]:
        """The best documents that share a word with the query, the best first; of equal ones, the earlier."""
        words = [word for word in _words(query) if word in self._vocabulary]
        if not words:
            return []
        scores = self._index.get_scores(words)
        best = (-scores).argsort(kind="stable")[:top_k]
        return [self._order[index] for index in best if scores[index] > 0]

    def read(self, id: str) -> str:
        """Reads a whole document.

        Args:
            id: What stands in brackets where a document was found.

        Raises:
            ToolError: there is no such document.
        """
        if id not in self.documents:
            raise ToolError(f"there is no document {id!r}")
        document = self.documents[id]
        return f"{document.title}\n{document.text}" if document.title else document.text

    def __deepcopy__(self, memo: dict[int, Any]) -> Corpus:
        return self


class Search(Tool):
    """Finds documents, and shows of each the part that has most words of the query.

    Args:
        corpus: what is searched; `Corpus.read` makes a second tool that opens what was found.
        top_k: documents that are shown.
        snippet_chars: characters of each that are shown; None for all.
    """

    name = "search"
    description = "Searches documents for the words of a query."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"query": {"type": "string", "maxLength": 1000, "description": "Words to look for."}},
        "required": ["query"],
    }

    def __init__(self, corpus: Corpus, *, top_k: int = 5, snippet_chars: int | None = 300) -> None:
        self.corpus, self._top_k, self._snippet_chars = corpus, top_k, snippet_chars

    def run(self, *, query: str) -> str:
        found = self.corpus.search(query, top_k=self._top_k)
        words = set(_words(query))
        shown = [
            f"[{document.id}] {document.title}".rstrip() + "\n" + _snippet(document.text, words, self._snippet_chars)
            for document in found
        ]
        return "\n\n".join(shown) or "nothing was found"


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _snippet(text: str, words: set[str], num_chars: int | None) -> str:
    """The part of a text with most different words of a query, which begins with one of them where it is cut."""
    if num_chars is None or len(text) <= num_chars:
        return text
    matches = [match for match in re.finditer(r"\w+", text) if match[0].lower() in words][:_MAX_PLACES]
    places = [match.start() for match in matches if match.start() + num_chars <= len(text)] or [0]
    last = len(text) - num_chars
    begin = max([*places, last] if matches else [0], key=lambda place: _num_inside(matches, place, place + num_chars))
    return f"{'...' if begin else ''}{text[begin : begin + num_chars]}{'...' if begin < last else ''}"


def _num_inside(matches: list[re.Match[str]], start: int, stop: int) -> int:
    return len({match[0].lower() for match in matches if start <= match.start() and match.end() <= stop})


def _document(row: Document | Mapping[str, Any], number: int) -> Document:
    if isinstance(row, Document):
        return row
    if not isinstance(row, Mapping) or not isinstance(row.get("text"), str):
        raise DataError(f'Document {number} must be {{"text": ..., "title": ..., "id": ...}}, but is {row!r:.100}.')
    return Document(str(row.get("id", number)), row["text"], str(row.get("title", "")))


def _rows_of_file(path: Path) -> list[Any]:
    if not path.is_file():
        raise DataNotFoundError(f"There is no file {str(path)!r} of documents. Give the path of a JSONL file.")
    rows = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(json.loads(line))
                _document(rows[-1], number)
            except ValueError as error:
                raise DataError(f"{path}:{number}: {error}") from error
    return rows
