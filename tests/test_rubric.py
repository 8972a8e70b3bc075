"""Rewards of several parts: weights, gates, ensembles, and the shape of a message."""

import asyncio
import gc
import inspect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgym import AssistantMessage, Score, Task
from llmgym.errors import ConfigError, VerifierError
from llmgym.scoring import Ensemble, LengthPenalty, Part, RepetitionPenalty, Rubric
from llmgym.scoring.shaping import repeated_share

TASK = Task(key="0", prompt="Say 4.", answer="4")
rewards = st.floats(-2, 2)


def pays(reward, **settings):
    return lambda message, task: Score(reward=reward, **settings)


def pays_later(reward, **settings):
    async def verifier(message, task):
        await asyncio.sleep(0)
        return Score(reward=reward, **settings)

    return verifier


def judged(verifier, text="4"):
    score = verifier(AssistantMessage(text), TASK)
    return asyncio.run(awaited(score)) if inspect.isawaitable(score) else score


async def awaited(score):
    return await score


@given(st.lists(st.tuples(rewards, rewards, st.booleans()), min_size=1, max_size=5))
def test_a_rubric_pays_the_weighted_sum_however_its_verifiers_answer(table):
    parts = [
        Part(name=f"part {index}", verifier=(pays_later if is_slow else pays)(reward), weight=weight)
        for index, (reward, weight, is_slow) in enumerate(table)
    ]

    score = judged(Rubric(parts))

    assert score.reward == pytest.approx(sum(reward * weight for reward, weight, _ in table))
    assert list(score.parts.values()) == [reward for reward, _, _ in table]


def test_a_rubric_without_asynchronous_verifiers_answers_at_once():
    assert Rubric([Part(name="only", verifier=pays(0.5))])(AssistantMessage("4"), TASK).reward == 0.5


@pytest.mark.parametrize("verifier", [pays, pays_later])
def test_a_closed_gate_pays_nothing_and_spares_the_other_verifiers(verifier):
    asked = []
    rubric = Rubric(
        [
            Part(name="correct", verifier=lambda message, task: asked.append(message)),
            Part(name="format", verifier=verifier(0.0), opens_at=1.0),
        ]
    )

    score = judged(rubric)

    assert (score.reward, score.parts, asked) == (0.0, {"format": 0.0}, [])
    assert "closed by format" in score.reason


def test_an_open_gate_is_a_part_like_the_others():
    gate = Part(name="format", verifier=pays(1.0), opens_at=1.0, weight=0.25)
    score = judged(Rubric([gate, Part(name="correct", verifier=pays(1.0), weight=0.75)]))

    assert (score.reward, score.parts) == (1.0, {"format": 1.0, "correct": 1.0})


@pytest.mark.parametrize("verifier", [pays, pays_later])
def test_a_part_that_failed_for_our_reasons_makes_the_whole_invalid(verifier):
    parts = [
        Part(name="correct", verifier=pays(1.0)),
        Part(name="judge", verifier=verifier(0.0, is_valid=False, reason="out of memory"), weight=0.0),
    ]
    ensemble = Ensemble({part.name: part.verifier for part in parts})

    for score in (judged(Rubric(parts)), judged(ensemble)):
        assert (score.is_valid, score.reward, score.parts) == (False, 0.0, {"correct": 1.0})
        assert "judge failed: out of memory" in score.reason


def test_an_invalid_gate_is_no_closed_gate():
    gate = Part(name="judge", verifier=pays(0.0, is_valid=False), opens_at=1.0)

    assert not judged(Rubric([gate, Part(name="correct", verifier=pays(1.0))])).is_valid


def test_an_error_of_one_verifier_is_raised_after_the_others_have_ended():
    ended = []

    async def slow(message, task):
        await asyncio.sleep(0.01)
        ended.append(True)
        return Score(reward=1.0)

    async def broken(message, task):
        raise VerifierError("the worker is lost")

    with pytest.raises(VerifierError, match="worker is lost"):
        judged(Rubric([Part(name="broken", verifier=broken), Part(name="slow", verifier=slow)]))

    assert ended == [True]


def test_a_rubric_shows_the_parts_of_its_parts_and_the_answer_that_was_found():
    inner = pays(0.5, parts={"format": 1.0}, extracted="4", expected="4", reason="correct")

    score = judged(Rubric([Part(name="short", verifier=pays(0.0)), Part(name="math", verifier=inner)]))

    assert score.parts == {"short": 0.0, "math": 0.5, "math.format": 1.0}
    assert (score.extracted, score.expected, score.reason) == ("4", "4", "math: correct")


def test_rubrics_and_ensembles_are_verifiers_and_nest():
    judges = Ensemble({"a": pays(0.2), "b": pays_later(0.6)}, pays="min")
    rubric = Rubric([Part(name="judges", verifier=judges, weight=2.0), Part(name="own", verifier=pays(1.0))])

    assert judged(rubric).reward == pytest.approx(1.4)


@given(st.lists(rewards, min_size=1, max_size=5))
def test_an_ensemble_pays_the_mean_or_the_least(values):
    verifiers = {str(index): pays(value) for index, value in enumerate(values)}

    assert judged(Ensemble(verifiers)).reward == pytest.approx(math.fsum(values) / len(values))
    assert judged(Ensemble(verifiers, pays="min")).reward == min(values)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Rubric([]), "one part or more"),
        (lambda: Rubric([Part(name="a", verifier=pays(1.0))] * 2), r"different names.*\['a', 'a'\]"),
        (lambda: Part(name="", verifier=pays(1.0)), "a name"),
        (lambda: Part(name="a", verifier="math"), "a verifier"),
        (lambda: Part(name="a", verifier=pays(1.0), weight=math.nan), "weight nan"),
        (lambda: Ensemble({}), "0 verifiers"),
        (lambda: Ensemble({"a": pays(1.0)}, pays="max"), "'max'"),
        (lambda: LengthPenalty(free=4, limit=4), "free is 4 and limit 4"),
        (lambda: RepetitionPenalty(n=0), "n is 0"),
    ],
)
def test_parts_that_make_no_sense_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize(("length", "reward"), [(1, 0.0), (4, 0.0), (5, -0.25), (6, -0.5), (8, -1.0), (90, -1.0)])
def test_the_length_penalty_falls_in_a_line_from_the_free_length_to_the_limit(length, reward):
    message = AssistantMessage("x", token_ids=tuple(range(length)))

    assert LengthPenalty(free=4, limit=8)(message, TASK).reward == pytest.approx(reward)


def test_the_length_of_a_message_that_nobody_sampled_is_its_characters():
    assert judged(LengthPenalty(free=0, limit=10), "12345").reward == -0.5


@given(st.lists(st.integers(0, 2), max_size=12), st.integers(1, 4))
def test_the_repeated_share_counts_n_grams_that_came_before(items, n):
    grams = [items[start : start + n] for start in range(max(0, len(items) - n + 1))]
    repeated = sum(gram in grams[:index] for index, gram in enumerate(grams))

    assert repeated_share(items, n=n) == pytest.approx(repeated / len(grams) if grams else 0.0)


def test_saying_the_same_again_costs():
    assert judged(RepetitionPenalty(n=2), "one two three four").reward == 0.0
    assert judged(RepetitionPenalty(n=2), "yes yes yes yes yes").reward == -0.75


@pytest.mark.parametrize("settings", [{"name": "a.b"}, {"weight": math.nan}, {"opens_at": math.nan}, {"name": ""}])
def test_a_part_that_could_not_be_judged_or_told_apart_is_refused(settings):
    with pytest.raises(ConfigError):
        Part(**{"name": "a", "verifier": pays(1.0), **settings})


async def gives_later(given):
    return given


@pytest.mark.parametrize("given", [1.0, None, True])
@pytest.mark.parametrize("whole", [lambda v: Rubric([Part(name="a", verifier=v)]), lambda v: Ensemble({"a": v})])
def test_what_is_no_score_is_a_failure_of_the_verifier(whole, given):
    for verifier in (lambda message, task: given, lambda message, task: gives_later(given)):
        with pytest.raises(VerifierError, match=r"but a verifier gives a Score"):
            judged(whole(verifier))


def test_rubrics_of_rubrics_that_answer_later_show_all_their_parts():
    inner = Rubric([Part(name="b", verifier=pays_later(0.5)), Part(name="c", verifier=pays(1.0))])
    outer = Rubric([Part(name="a", verifier=Ensemble({"i": inner, "j": pays_later(0.5)}, pays="min"), weight=2.0)])

    score = judged(outer)

    assert (score.reward, score.parts) == (1.0, {"a": 0.5, "a.i": 1.5, "a.i.b": 0.5, "a.i.c": 1.0, "a.j": 0.5})


@pytest.mark.filterwarnings("error")
def test_a_verifier_that_raises_leaves_no_other_one_unawaited():
    def broken(message, task):
        raise VerifierError("lost")

    with pytest.raises(VerifierError, match="lost"):
        judged(Ensemble({"slow": pays_later(1.0), "broken": broken}))
    gc.collect()
