"""Search questions as episodes: the answer's score, the tools, and documents of the user's."""

import importlib.util
import json
import re
import string
import sys
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.search_qa import FAMILIES, SearchQAEnv
from llmgym.envs.search_qa.articles import corpus_of
from llmgym.envs.search_qa.env import _nothing
from llmgym.envs.search_qa.scoring import exact_match, f1, normalized
from llmgym.envs.search_qa.world import generate_world

import llmgym
from llmgym.errors import ConfigError, DataError, DataNotFoundError, MissingExtraError
from llmgym.messages import AssistantMessage, ToolCall

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _needs_bm25s(require):
    require("search", importlib.util.find_spec("bm25s"), "bm25s is not installed")


def step(env, turn):
    call = (turn,) if isinstance(turn, ToolCall) else ()
    return env.step(AssistantMessage("" if call else turn, tool_calls=call))


def begin(family=None, index=0, **settings):
    env = SearchQAEnv(families=family, **settings)
    task = env.tasks("train")[index]
    env.reset(task, RNG)
    return env, task


def score_of(answer, family=None, **settings):
    """The score of an answer, or of what a function makes of the task."""
    env, task = begin(family, **settings)
    response = step(env, answer(task) if callable(answer) else answer)
    assert response.terminated
    return response.score


@pytest.mark.parametrize("family", FAMILIES)
def test_reference_turns_earn_the_reward(family):
    for index in range(3):
        env, task = begin(family, index)
        *searches, end = [step(env, turn) for turn in env.solve(task)]

        assert searches
        assert not any(search.terminated or search.num_tool_errors for search in searches)
        assert (end.terminated, end.score.reward, end.score.parts) == (True, 1.0, {"em": 1.0, "f1": 1.0})


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_reference_turns_earn_the_reward_for_many_seeds_and_cheap_answers_never_do(family):
    for index in range(8):
        env, task = begin(family, index)
        assert [step(env, turn) for turn in env.solve(task)][-1].score.reward == 1.0
        for cheap in ("", "yes", "1650", task.prompt, read_everything(task)):
            env.reset(task, RNG)
            assert step(env, cheap).score.reward == 0.0


def read_everything(task):
    return "\n".join(document.text for document in corpus_of(task.metadata["world"]).documents.values())


@pytest.mark.parametrize(
    "rewrite",
    ["{}", " {}\n", "the {}", "{}.", '"{}"', "Answer: {}", "I looked.\nAnswer: {}", "<think>Or X?</think>{}"],
)
def test_the_answer_may_be_dressed_as_squad_allows(rewrite):
    assert score_of(lambda task: rewrite.format(task.answer.upper())).reward == 1.0


@pytest.mark.parametrize("rewrite", ["{} or so", "not {}", "It is {}", "{} {}", "Answer: x\n{}", "<think>{}", ""])
def test_more_or_less_than_the_answer_is_no_exact_match(rewrite):
    score = score_of(lambda task: rewrite.format(task.answer, task.answer))

    assert (score.reward, score.parts["em"]) == (0.0, 0.0)
    assert score.parts["f1"] < 0.9


def test_every_name_of_the_answer_is_right():
    env = SearchQAEnv()
    task = next(task for index in range(100) if len((task := env.tasks("train")[index]).metadata["answers"]) > 1)

    for name in task.metadata["answers"]:
        env.reset(task, RNG)
        assert step(env, name).score.reward == 1.0


@pytest.mark.parametrize("reward", ["em", "f1"])
def test_a_list_of_all_names_earns_nothing_and_a_short_one_little(reward):
    def names(task):
        people = [e.name for e in generate_world(task.metadata["world"]).entities.values() if e.name != task.answer]
        return [*people[:6], task.answer, *people[6:]]

    everything = score_of(lambda task: ", ".join(names(task)), reward=reward)
    a_few = score_of(lambda task: ", ".join(names(task)[:7]), reward=reward)

    assert (everything.reward, everything.parts) == (0.0, {"em": 0.0, "f1": 0.0})
    assert a_few.reward <= 0.4
    assert (a_few.reward > 0) == (reward == "f1")


def test_a_part_of_the_answer_earns_a_part_only_where_f1_is_asked_for():
    def part(task):
        return task.answer.split()[0]

    family = "intersection"
    scores = {reward: score_of(part, family, reward=reward) for reward in ("em", "f1")}

    assert scores["em"].reward == 0.0
    assert 0 < scores["f1"].reward < 1
    assert scores["em"].parts == scores["f1"].parts


def test_the_tools_find_and_open_articles_and_say_what_is_wrong():
    env, task = begin("lookup")
    found = step(env, env.solve(task)[0]).messages[0].content
    id = re.match(r"\[(\d+)\]", found)[1]

    assert (
        corpus_of(task.metadata["world"]).documents[id].text
        in step(env, ToolCall("read", {"id": id})).messages[0].content
    )
    wrong = step(env, ToolCall("read", {"id": "nothing"}))
    assert (wrong.num_tool_errors, wrong.terminated) == (1, False)


@pytest.mark.parametrize("tool_format", ["tag", "hermes"])
def test_reference_turns_can_be_written_before_the_first_reset(tool_format):
    env = gym.make("llmgym/SearchQA-v0", view="text", tool_format=tool_format).unwrapped
    task = env.message_env.tasks("train")[0]

    turns = env.solve(task)

    env.reset(seed=0, options={"task": task.key})
    assert [env.step(turn)[1] for turn in turns][-1] == 1.0


def test_no_world_is_in_both_splits():
    env = SearchQAEnv()
    worlds = {split: {env.tasks(split)[index].metadata["world"] for index in range(20)} for split in ("train", "test")}

    assert not worlds["train"] & worlds["test"]
    assert min(len(of_split) for of_split in worlds.values()) > 15


def test_without_bm25s_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    _nothing.cache_clear()

    with pytest.raises(MissingExtraError, match=r"llmgym\[search\]"):
        SearchQAEnv()


ROWS = [
    {"question": "Who built the Eiffel Tower?", "answer": ["Gustave Eiffel", "Eiffel"]},
    {"question": "How old is it?", "answer": 135},
    {"question": "Is it made of iron?", "answer": "yes"},
]
DOCUMENTS = [{"title": "Eiffel Tower", "text": "The tower was built by Gustave Eiffel, of iron."}, {"text": "Nothing."}]


@pytest.fixture
def make(tmp_path):
    def make(rows=ROWS, **settings):
        corpus, questions = tmp_path / "corpus.jsonl", tmp_path / f"{abs(hash(json.dumps(rows)))}.jsonl"
        corpus.write_text("".join(json.dumps(row) + "\n" for row in DOCUMENTS))
        questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return SearchQAEnv(
            **{"corpus": str(corpus), "questions": str(questions), **settings}, test_questions=str(questions)
        )

    return make


def said(env, question, answer):
    env.reset(next(task for task in env.tasks("test") if task.prompt == question), RNG)
    return step(env, answer).score


def test_questions_of_the_users_have_one_answer_or_several(make):
    env = make()

    assert [said(env, ROWS[0]["question"], name).reward for name in ("gustave eiffel", "Eiffel", "Paris")] == [1, 1, 0]
    assert said(env, "How old is it?", "135").reward == 1
    assert said(make(reward="f1"), "Is it made of iron?", "yes it is").reward == 0, (
        "yes has no part that could be right"
    )


def test_the_users_documents_are_searched(make):
    env = make()
    task = env.tasks("test")[0]
    env.reset(task, RNG)

    assert "Gustave Eiffel" in step(env, ToolCall("search", {"query": "tower built"})).messages[0].content
    env.reset(task, RNG)
    assert [step(env, turn) for turn in env.solve(task)][-1].score.reward == 1.0


def test_columns_can_be_named(make):
    env = make([{"q": "Who?", "gold": "me"}], columns={"prompt": "q", "answer": "gold"})

    assert said(env, "Who?", "Me.").reward == 1


@pytest.mark.parametrize(
    "row", [{"question": "?"}, {"question": "?", "answer": []}, {"question": "?", "answer": " "}, {"answer": "x"}]
)
def test_a_row_that_cannot_be_used_is_named(make, row):
    with pytest.raises(DataError, match="line 1"):
        make([row]).tasks("test")


def test_a_reference_answer_longer_than_answers_may_be_is_refused(make):
    with pytest.raises(ConfigError, match="max_answer_words"):
        make([{"question": "?", "answer": "a b c d"}], max_answer_words=3).tasks("test")


def test_a_corpus_that_is_not_there_is_named(make, tmp_path):
    env = make(corpus=str(tmp_path / "nowhere.jsonl"))

    with pytest.raises(DataNotFoundError, match="nowhere"):
        env.reset(env.tasks("test")[0], RNG)


@pytest.mark.parametrize(
    "settings",
    [
        {"corpus": "x.jsonl"},
        {"questions": "x.jsonl"},
        {"columns": {"prompt": "q"}},
        {"test_questions": "x.jsonl"},
        {"corpus": "x.jsonl", "questions": "y.jsonl", "families": ["lookup"]},
        {"corpus": "x.jsonl", "questions": "y.jsonl", "columns": {"colour": "q"}},
        {"families": ["nothing"]},
        {"families": []},
        {"reward": "bleu"},
        {"top_k": 0},
        {"max_answer_words": 0},
        {"prompt_template": "no place"},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ConfigError):
        SearchQAEnv(**settings)


WORDS = st.lists(
    st.sampled_from(["a", "The", "red", "Red", "door", "dóor", "yes", "no", "an,", "d.o.o.r", "-"]), max_size=6
)


def plain(text):
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return [word for word in kept.split() if word not in ("a", "an", "the")]


@given(WORDS, WORDS)
def test_exact_match_and_f1_are_those_of_their_definitions(one, other):
    said, reference = " ".join(one), " ".join(other)
    words, expected = plain(said), plain(reference)
    shared = sum(min(count, Counter(expected)[word]) for word, count in Counter(words).items())
    is_closed = any(side in (["yes"], ["no"]) for side in (words, expected))

    assert exact_match(said, [reference]) == float(words == expected)
    if words == expected:
        assert f1(said, [reference]) == 1.0
    elif shared == 0 or is_closed:
        assert f1(said, [reference]) == 0.0
    else:
        assert f1(said, [reference]) == pytest.approx(2 * shared / (len(words) + len(expected)))


@given(st.text(max_size=30))
def test_normalizing_twice_is_normalizing_once_and_every_text_matches_itself(text):
    assert normalized(normalized(text)) == normalized(text)
    assert exact_match(text, [text]) == f1(text, ["other words", text]) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["em", "f1"])
def test_it_keeps_the_promises_of_an_environment(reward):
    report = llmgym.check_env("llmgym/SearchQA-v0", num_tasks=8, reward=reward)

    assert {"reference", "cheap answers", "splits", "leaks"} <= set(report.passed)
