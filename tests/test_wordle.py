"""Wordle: marks, the solver, and what is paid."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.games import WordleEnv
from llmgym.envs.games.wordle_rules import _codes, _letters, best_guess, candidates, marks_of
from llmgym.envs.games.wordle_words import WORDS

from llmgym.errors import ConfigError, DataError, DataNotFoundError
from llmgym.messages import AssistantMessage

RNG = np.random.default_rng(0)
few_letters = st.text("abc", min_size=5, max_size=5)
"""With so few letters, almost every pair has some twice."""


def marks_by_crossing_off(guess, secret):
    """As a player marks on paper: right letters first, then each other letter crosses one off that is left."""
    paper, marks = list(secret), ["-"] * 5
    for place in range(5):
        if guess[place] == secret[place]:
            marks[place], paper[place] = "+", None
    for place in range(5):
        if marks[place] == "-" and guess[place] in paper:
            marks[place] = "?"
            paper[paper.index(guess[place])] = None
    return "".join(marks)


def play(env, task, turns):
    env.reset(task, RNG)
    responses = []
    for turn in turns:
        responses.append(env.step(AssistantMessage(content=turn)))
        if responses[-1].terminated:
            break
    return responses


def rewards(responses):
    return [response.score.reward for response in responses]


@given(few_letters, few_letters)
def test_marks_of_doubled_letters_are_those_of_crossing_off(guess, secret):
    assert marks_of(guess, secret) == marks_by_crossing_off(guess, secret)


@given(st.lists(few_letters, min_size=1, max_size=5), st.lists(few_letters, min_size=1, max_size=5))
def test_marks_of_many_pairs_at_once_are_those_of_each(guesses, secrets):
    codes = _codes(_letters(guesses), _letters(secrets))

    signs = {"-": 0, "?": 1, "+": 2}
    for row, guess in enumerate(guesses):
        for column, secret in enumerate(secrets):
            assert codes[row, column] == sum(
                signs[mark] * 3**place for place, mark in enumerate(reversed(marks_of(guess, secret)))
            )


@pytest.mark.parametrize(
    ("guess", "secret", "marks"),
    [
        ("speed", "abide", "--?-?"),
        ("speed", "erase", "?-??-"),
        ("allow", "loyal", "????-"),
        ("geese", "eagle", "??--+"),
    ],
)
def test_known_marks(guess, secret, marks):
    assert marks_of(guess, secret) == marks


def test_our_words_are_several_hundred_different_ones_of_five_letters():
    assert len(set(WORDS)) == len(WORDS) > 700
    assert all(len(word) == 5 and word.isascii() and word.isalpha() and word.islower() for word in WORDS)


def guesses_to_find(secret, clue):
    clues = [(clue, marks_of(clue, secret))]
    for number in range(1, 10):
        guess = best_guess(WORDS, candidates(WORDS, clues))
        if guess == secret:
            return number
        clues.append((guess, marks_of(guess, secret)))
    return 10


@pytest.mark.parametrize("words", [WORDS[::50], pytest.param(WORDS[::5], marks=pytest.mark.slow)], ids=["few", "many"])
def test_the_solver_finds_words_within_six_guesses_whatever_the_clue(words):
    rng = np.random.default_rng(0)

    assert max(guesses_to_find(secret, WORDS[rng.integers(len(WORDS))]) for secret in words) <= 6


@pytest.mark.parametrize("split", ["train", "test"])
def test_reference_turns_find_the_word_and_earn_one(split):
    env = WordleEnv(letters_reward=0.5, clues=2)
    for task in env.tasks(split).first(10):
        responses = play(env, task, env.solve(task))

        assert responses[-1].terminated
        assert sum(rewards(responses)) == pytest.approx(1.0)


def test_no_secret_of_the_test_split_is_one_of_the_training_split():
    secrets = {split: {WordleEnv().tasks(split)[i].answer for i in range(200)} for split in ("train", "test")}

    assert not secrets["train"] & secrets["test"]
    assert len(secrets["test"]) > 30


def test_the_same_guess_over_and_over_finds_only_its_own_word():
    env = WordleEnv()
    tasks = env.tasks("train").first(400)

    found = [task.answer for task in tasks if sum(rewards(play(env, task, ["about"] * 6)))]

    assert set(found) <= {"about"}


def test_a_message_that_is_no_guess_costs_one_and_says_so():
    env = WordleEnv(guesses=2)

    first, second = play(env, env.tasks("train")[0], ["I do not know", "?"])

    assert first.messages[0].content == "guess 5 letters, a to z\n1 guess left"
    assert (first.terminated, second.terminated, rewards([first, second])) == (False, True, [0.0, 0.0])
    assert second.score.expected == env.tasks("train")[0].answer
    assert first.score.expected is None


@pytest.mark.parametrize("guesses", [2, 10])
def test_the_budget_of_turns_is_the_number_of_guesses(guesses):
    env = gym.make("llmgym/Wordle-v0", view="text", guesses=guesses)
    env.reset(seed=0)

    ends = [env.step("zzzzz")[2:4] for _ in range(guesses)]

    assert ends == [(False, False)] * (guesses - 1) + [(True, False)]


def test_thoughts_may_come_before_the_line_of_the_guess():
    env = WordleEnv()
    task = env.tasks("train")[0]

    (response,) = play(env, task, [f"It may be 'apple'.\n\n  {task.answer.upper()} \n"])

    assert rewards([response]) == [1.0]


@given(st.integers(0, 50), st.lists(st.one_of(st.sampled_from(WORDS), few_letters, st.text(max_size=6)), max_size=6))
def test_letters_in_place_earn_their_part_once(index, guesses):
    env = WordleEnv(letters_reward=0.5)
    task = env.tasks("train")[index]

    paid = rewards(play(env, task, guesses))

    said = [guess.strip().lower() for guess in guesses[: len(paid)]]
    shown = [guess for guess in said if len(guess) == 5 and guess.isascii() and guess.isalpha()]
    places = {place for guess in shown for place in range(5) if guess[place] == task.answer[place]}
    assert sum(paid) == pytest.approx(1.0 if task.answer in shown else 0.1 * len(places))
    assert min(paid, default=0.0) >= 0.0


def test_words_of_the_users_own_are_used(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("\n".join(f"AB{a}{b}C".lower() for a in "fghijklm" for b in "nopqrstuv"))
    env = WordleEnv(str(file))

    task = env.tasks("train")[0]

    assert task.answer.startswith("ab")
    assert sum(rewards(play(env, task, env.solve(task)[:6]))) in (0.0, 1.0)


def test_files_that_hold_no_words_are_refused_by_file_and_line(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("about\nlonger\n")

    with pytest.raises(DataError, match=r"words.txt:2"):
        WordleEnv(str(file)).tasks("train")
    with pytest.raises(DataNotFoundError):
        WordleEnv(str(tmp_path / "nothing")).tasks("train")


@pytest.mark.parametrize("settings", [{"guesses": 0}, {"clues": 0}, {"clues": True}, {"letters_reward": 2}])
def test_wordle_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError):
        WordleEnv(**settings)
