"""The conformance check finds each broken promise, and nothing in what is whole."""

import threading
from dataclasses import replace
from functools import cache

import gymnasium as gym
import numpy as np
import pytest

import llmgym
from llmgym import (
    AssistantMessage,
    EnvResponse,
    FiniteTasks,
    InitialMessages,
    Limits,
    Message,
    MessageEnv,
    Score,
    Task,
    TokenEnv,
)
from llmgym.episode.check_rules import RULES
from llmgym.errors import CheckError, ConfigError


class Whole(MessageEnv):
    """Keeps every promise: asks for a word's capitals, and gives a hint in between."""

    default_limits = Limits(turns=2, turn_tokens=40, episode_tokens=80, context_tokens=200)

    def tasks(self, split):
        words = [f"{start}{end}" for start in "abcdefghij" for end in ("ox", "en", "um")]
        half = words[::2] if split == "train" else words[1::2]
        return FiniteTasks([Task(key=word, prompt=word, answer=word.upper()) for word in half])

    def reset(self, task, rng):
        self.task, self.rng, self.num_turns = task, rng, 0
        return InitialMessages((Message("user", f"capitals of {task.prompt}"),))

    def step(self, message):
        self.num_turns += 1
        if self.num_turns == 1:
            return EnvResponse(messages=(Message("user", f"now {self.rng.integers(10**6)}"),))
        is_right = message.content == self.task.answer
        score = Score(reward=float(is_right), expected=self.task.answer)
        return EnvResponse(score=score, terminated=True)

    def solve(self, task):
        return ["ready", task.answer]


class ForgetsItsSeed(Whole):
    def reset(self, task, _):
        return super().reset(task, np.random.default_rng())


class CarriesStateOver(Whole):
    count = 0

    def step(self, message):
        CarriesStateOver.count += 1
        response = super().step(message)
        return response if response.terminated else EnvResponse(messages=(Message("user", str(self.count)),))


class LeaksInTheHint(Whole):
    def step(self, message):
        response = super().step(message)
        hint = (Message("user", f"not {self.task.answer}, is it?"),)
        return response if response.terminated else replace(response, messages=hint)


class LeaksInTheScore(Whole):
    def step(self, message):
        response = super().step(message)
        score = response.score or Score(reward=0.0, expected=self.task.answer)
        return replace(response, score=score)


class PaysTooMuch(Whole):
    def step(self, message):
        response = super().step(message)
        return replace(response, score=Score(reward=3.0 if response.terminated else 0.0))


class SolvesWrongly(Whole):
    def solve(self, task):
        return ["ready", task.prompt]


class SolvesTooSlowly(Whole):
    def solve(self, task):
        return ["ready", "steady", task.answer]


class AcceptsAnything(Whole):
    def step(self, message):
        response = super().step(message)
        return response if response.score is None else replace(response, score=Score(reward=1.0))


class AcceptsEmptyAnswers(Whole):
    def step(self, message):
        response = super().step(message)
        return replace(response, score=Score(reward=1.0)) if self.num_turns == 2 and not message.content else response


class AcceptsThePrompt(Whole):
    def step(self, message):
        response = super().step(message)
        holds_it = self.num_turns == 2 and self.task.prompt in message.content
        return replace(response, score=Score(reward=1.0)) if holds_it else response


class AcceptsAnAnswerAmongOthers(Whole):
    def step(self, message):
        score = Score(reward=float(self.task.answer in message.content.split()))
        return EnvResponse(score=score, terminated=True)

    def solve(self, task):
        return [task.answer]


class HasOneAnswer(Whole):
    def tasks(self, split):
        return FiniteTasks([Task(key=task.key, prompt=task.prompt, answer="YES") for task in super().tasks(split)])


class RaisesOnOddAnswers(Whole):
    def step(self, message):
        message.content.encode("ascii")
        return super().step(message)


class NeverAnswers(Whole):
    def step(self, message):
        if message.content == "":
            threading.Event().wait(5)
        return super().step(message)


class MixesItsSplits(Whole):
    def tasks(self, _):
        return super().tasks("train")


class FindsAnotherTask(Whole):
    class Source(FiniteTasks):
        def get(self, _):
            return self[0]

    def tasks(self, split):
        return self.Source(list(super().tasks(split)))


class SpeaksForThePolicy(Whole):
    def step(self, message):
        response = super().step(message)
        return response if response.terminated else EnvResponse(messages=(Message("assistant", "yes"),))


class ClosesOnce(Whole):
    service = "open"

    def close(self):
        del self.service_of_this_instance

    def __init__(self):
        self.service_of_this_instance = "open"


class CannotTravel(Whole):
    def __init__(self):
        self.answers = {"a": lambda: None}

    def __reduce__(self):
        raise TypeError("it holds a function")

    def __deepcopy__(self, memo):
        return CannotTravel()


class ChangesOnTheWay(Whole):
    def __init__(self, name="home"):
        self.name = name

    def __reduce__(self):
        return ChangesOnTheWay, ("abroad",)

    def __deepcopy__(self, memo):
        return ChangesOnTheWay(self.name)

    def reset(self, task, rng):
        self.rng = rng
        initial = super().reset(task, rng)
        return InitialMessages((*initial.messages, Message("user", self.name)))


class HasNoRoomForATurn(Whole):
    default_limits = Limits(turns=2, turn_tokens=1, episode_tokens=80, context_tokens=200)


BROKEN = [
    (ForgetsItsSeed, "seeds", "same seed"),
    (CarriesStateOver, "seeds", "set all state there"),
    (LeaksInTheHint, "leaks", "8 of 8 tasks"),
    (LeaksInTheScore, "leaks", "terminated=True"),
    (PaysTooMuch, "rewards", "earned 3.0"),
    (SolvesWrongly, "reference", "earned 0.0"),
    (SolvesTooSlowly, "reference", "the end of the task"),
    (AcceptsAnything, "cheap answers", "Random ids earned"),
    (AcceptsEmptyAnswers, "cheap answers", "An empty answer earned"),
    (AcceptsThePrompt, "cheap answers", "The prompt, copied, earned"),
    (AcceptsAnAnswerAmongOthers, "cheap answers", "A list of answers, the right one among them, one a line, earned"),
    (HasOneAnswer, "cheap answers", "right for another task"),
    (RaisesOnOddAnswers, "robustness", "EnvironmentFailure"),
    (MixesItsSplits, "splits", "15 of 15 test prompts"),
    (FindsAnotherTask, "tasks", "content_key"),
    (SpeaksForThePolicy, "messages", "'assistant'"),
    (ClosesOnce, "closing", "AttributeError"),
    (CannotTravel, "pickling", "it holds a function"),
    (ChangesOnTheWay, "pickling", "After pickling"),
    (HasNoRoomForATurn, "gymnasium", "truncates"),
]


def problems_of(env, **settings):
    with pytest.raises(CheckError) as caught:
        llmgym.check_env(env, **settings)
    return str(caught.value)


problems_of_broken = cache(lambda make: problems_of(make()))


def test_a_whole_environment_passes_every_rule():
    report = llmgym.check_env(Whole())

    assert (report.env, report.passed, report.notes, report.num_tasks) == ("Whole", tuple(RULES), (), 8)
    assert f"{len(RULES)} rules hold" in str(report)


@pytest.mark.parametrize(("make", "rule", "words"), BROKEN, ids=[make.__name__ for make, _, _ in BROKEN])
def test_each_broken_promise_is_found_by_its_rule(make, rule, words):
    text = problems_of_broken(make)

    assert f"\n- {rule}: " in text
    assert words in text
    assert text.count("expected: ") == text.count("to mend: ") == text.count("\n- ")


@pytest.mark.parametrize("make", [m for m, _, _ in BROKEN], ids=lambda make: make.__name__)
def test_an_environment_passes_when_the_rules_it_breaks_are_skipped(make):
    broken = {line[2:].split(":")[0] for line in problems_of_broken(make).splitlines() if line.startswith("- ")}

    report = llmgym.check_env(make(), skip=broken)

    assert {note.split(":")[0] for note in report.notes} >= broken
    assert not set(report.passed) & broken


def test_a_verifier_that_never_answers_is_reported_and_stops_the_check():
    text = problems_of(NeverAnswers(), deadline_s=2)

    assert "no answer after 2 seconds" in text
    assert "an empty answer" in text
    assert text.count("\n- ") == 1


class ToldWrongly(TokenEnv):
    """Says in `info` that the policy sampled nothing."""

    def step(self, action):
        *result, info = super().step(action)
        if "new_mask" in info:
            info["new_mask"] = (False,) * len(info["new_mask"])
        return *result, info


class PaidTwice(TokenEnv):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, 2 * reward, *rest


class OtherTokens(TokenEnv):
    def step(self, action):
        return super().step(66 if self.view == "token" and action == ord("r") else action)


@pytest.mark.parametrize(
    ("make", "words"),
    [(ToldWrongly, "new_mask told"), (PaidTwice, "sum to 2.0"), (OtherTokens, "the ids of the trajectory")],
)
def test_views_that_disagree_with_the_trajectory_are_found(make, words):
    text = problems_of(make(Whole()))

    assert "\n- views: " in text
    assert words in text


class StepsOn(TokenEnv):
    def step(self, action):
        if self.episode.is_over:
            return self.observation_space.sample(), 0.0, True, False, {"new_ids": (), "new_mask": ()}
        return super().step(action)


def test_steps_after_the_end_that_go_through_are_found():
    assert "\n- ending: A step before the first reset went through" in problems_of(StepsOn(Whole()))


class NamesEveryAnswer(Whole):
    """Its wording lists all answers, so that none is given away."""

    def reset(self, task, rng):
        asked = super().reset(task, rng).messages[0].content
        answers = ", ".join(self.tasks("train")[index].answer for index in range(15))
        return InitialMessages((Message("user", f"{asked}; one of {answers}"),))


def test_answers_that_every_prompt_names_are_no_leak():
    assert "leaks" in llmgym.check_env(NamesEveryAnswer()).passed


class ShowsAnExample(Whole):
    def reset(self, task, rng):
        shown = (Message("user", "capitals of yak"), AssistantMessage(content="YAK"))
        return InitialMessages((*shown, *super().reset(task, rng).messages))


def test_a_few_shot_turn_in_the_first_messages_is_no_answer_of_the_environment():
    # With a stop string every token might close the turn, so that each step tells what is new.
    for stop_strings in ((), ("#stop#",)):
        assert "messages" in llmgym.check_env(ShowsAnExample(), stop_strings=stop_strings).passed
    assert "messages" in llmgym.check_env("llmgym/Math-v0", few_shot=2, num_tasks=2).passed


class ShyOfSolutions(Whole):
    def solve(self, _):
        return None

    def tasks(self, split):
        return FiniteTasks([replace(task, answer=None) for task in super().tasks(split)])


def test_what_cannot_be_checked_is_noted():
    report = llmgym.check_env(ShyOfSolutions())

    assert {note.split(":")[0] for note in report.notes} == {"growth", "leaks", "reference"}


def test_keywords_reach_the_environment_and_one_task_is_no_overlap():
    report = llmgym.check_env("llmgym/Copy-v0", text="hi")

    assert report.num_tasks == 1
    assert any("one task" in note for note in report.notes)


def test_an_environment_that_was_made_is_checked_as_it_was_made():
    text = problems_of(gym.make("llmgym/Copy-v0", prompt_template="{prompt}"))

    assert "The prompt, copied, earned the full reward" in text


def test_an_environment_with_stop_strings_keeps_its_promises():
    assert llmgym.check_env("llmgym/Calculator-v0", stop_strings=["</call>"]).passed == tuple(RULES)


def test_what_was_seen_in_an_episode_is_forgotten_after_the_rule_that_looked_at_it(monkeypatch):
    kept = []

    def look(subject):
        kept.extend(len(play.observations) for play in subject.plays)
        return ()

    monkeypatch.setitem(RULES, "messages", look)

    llmgym.check_env(Whole())

    assert set(kept) == {0}


def test_a_foreign_environment_and_a_misspelt_rule_are_refused():
    with pytest.raises(ConfigError, match="CartPole"):
        llmgym.check_env("CartPole-v1")
    with pytest.raises(ConfigError, match="CartPole"):
        llmgym.check_env(gym.make("CartPole-v1"))
    with pytest.raises(ConfigError, match="leaks"):
        llmgym.check_env(Whole(), skip=["leak"])
    with pytest.raises(ConfigError, match="text"):
        llmgym.check_env(gym.make("llmgym/Copy-v0"), text="hi")


def test_a_check_of_no_task_is_refused():
    with pytest.raises(ConfigError, match="num_tasks is 0"):
        llmgym.check_env("llmgym/Copy-v0", num_tasks=0)
