"""Search in documents: BM25 against its definition, snippets, and files of documents."""

import copy
import json
from collections import Counter
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgym.errors import ConfigError, DataError, DataNotFoundError
from llmgym.messages import ToolCall
from llmgym.tools import Corpus, FunctionTool, Search

CATS = {"id": "cats", "title": "About cats", "text": "The cat sat on the mat. A cat is no dog."}
DOGS = {"id": "dogs", "title": "About dogs", "text": "Dogs bark at every cat."}
OWLS = {"id": "owls", "text": "Owls see at night. 日本 has owls, and so has vitamin C."}


@pytest.fixture(autouse=True)
def _needs_bm25s(require):
    try:
        import bm25s  # noqa: F401  whether it is there
    except ImportError:
        require("search", False, "it is not installed")


def find(query, documents=(CATS, DOGS, OWLS), **settings):
    return Search(Corpus(documents), **settings).call(ToolCall("search", {"query": query})).content


def test_what_is_found_comes_best_first_with_id_and_title():
    assert find("CATS cat?") == "[cats] About cats\n" + CATS["text"] + "\n\n[dogs] About dogs\n" + DOGS["text"]
    assert find("cats cat", top_k=1).startswith("[cats]")
    assert find("日本").startswith("[owls]\nOwls")


@pytest.mark.parametrize("query", ["", "?!", "zebra"])
def test_a_query_without_a_known_word_finds_nothing(query):
    assert find(query) == "nothing was found"


def test_a_snippet_is_the_part_with_most_words_of_the_query():
    text = "cat " + "x " * 50 + "a black cat on a mat " + "y " * 50 + "mat"

    assert find("black mat cat", [{"text": text}], snippet_chars=14) == "[0]\n...black cat on a..."
    assert find("black mat cat", [{"text": text}], snippet_chars=None) == f"[0]\n{text}"


@given(st.text("ab ", max_size=30), st.integers(1, 12))
def test_a_snippet_is_a_part_of_the_text_of_the_length_that_was_asked_for(text, num_chars):
    found = find("a", [{"text": f"a{text}", "id": "0"}], snippet_chars=num_chars)

    snippet = found.removeprefix("[0]\n").removeprefix("...").removesuffix("...")
    assert snippet in f"a{text}" or found == "nothing was found"
    assert len(snippet) == min(num_chars, len(text) + 1) or found == "nothing was found"


texts = st.lists(st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join), min_size=1, max_size=6)


def bm25_by_definition(query, texts, k1=1.5, b=0.75):
    bags = [Counter(text.split()) for text in texts]
    mean_length = sum(bag.total() for bag in bags) / len(bags)

    def score(bag):
        total = 0.0
        for word in query.split():
            num_with = sum(word in other for other in bags)
            if word in bag:
                idf = log(1 + (len(bags) - num_with + 0.5) / (num_with + 0.5))
                total += idf * bag[word] / (bag[word] + k1 * (1 - b + b * bag.total() / mean_length))
        return total

    return [score(bag) for bag in bags]


@settings(max_examples=50)
@given(texts, st.lists(st.sampled_from("abcde"), max_size=4).map(" ".join))
def test_the_order_is_that_of_bm25(texts, query):
    found = [int(each.id) for each in Corpus([{"text": text} for text in texts]).search(query, top_k=10)]

    scores = bm25_by_definition(query, texts)
    assert sorted(found) == [index for index, score in enumerate(scores) if score > 0]
    assert [scores[index] for index in found] == pytest.approx(sorted(filter(None, scores), reverse=True))


def test_what_was_found_can_be_opened_by_a_second_tool():
    corpus = Corpus([CATS, OWLS])
    tool = FunctionTool(corpus.read)

    assert tool.call(ToolCall("read", {"id": "cats"})).content == "About cats\n" + CATS["text"]
    assert tool.call(ToolCall("read", {"id": "owls"})).content == OWLS["text"]
    assert tool.call(ToolCall("read", {"id": "0"})).content == "error: there is no document '0'"


def test_a_copy_of_the_tool_shares_the_documents():
    tool = Search(Corpus([CATS]))

    assert copy.deepcopy(tool).corpus is tool.corpus


def test_documents_come_from_a_file(tmp_path):
    path = tmp_path / "documents.jsonl"
    rows = [CATS, {"text": "line\u2028separator"}, OWLS]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")

    assert list(Corpus(path).documents) == ["cats", "1", "owls"]


@pytest.mark.parametrize("line", ["{", '"text"', '{"body": "x"}', '{"text": 3}'])
def test_a_line_that_is_no_document_is_named(tmp_path, line):
    path = tmp_path / "documents.jsonl"
    path.write_text(f'{{"text": "fine"}}\n{line}\n')

    with pytest.raises(DataError, match=r"documents\.jsonl:2"):
        Corpus(path)


def test_documents_that_cannot_be_told_apart_or_are_not_there_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="2 documents have 1 ids"):
        Corpus([CATS, CATS])
    with pytest.raises(ConfigError, match="Give at least one"):
        Corpus([])
    with pytest.raises(DataNotFoundError, match="no file"):
        Corpus(tmp_path / "none.jsonl")
