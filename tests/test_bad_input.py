"""What a caller can get wrong: the error says what was given, what was expected and how to mend it."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from support.complaints import assert_says, complaint

import llmgym
from llmgym.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    InvalidAction,
    RegistrationError,
    ResetNeeded,
    TokenizerError,
    UnknownTaskError,
)

COPY = "llmgym/Copy-v0"


# -- environments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"max_lenght": 3}, ["'max_lenght'", "does not exist", "Did you mean 'max_length'?"]),
        ({"max_length": "3"}, ["max_length is '3' (str)", "must be a whole number"]),
        ({"max_length": 3.0}, ["max_length is 3.0 (float)", "must be a whole number"]),
        ({"max_length": True}, ["max_length is True (bool)", "must be a whole number"]),
        ({"alphabet": 3}, ["alphabet is 3 (int)", "must be a text"]),
        ({"text": 3}, ["text is 3 (int)", "must be a text or none"]),
        ({"min_length": 0}, ["min_length is 0", "1 <= min_length <= max_length"]),
        ({"prompt_template": "no place"}, ["'no place'", "must contain '{prompt}'"]),
        ({"view": "tokens"}, ["view is 'tokens'", "Did you mean 'token'?"]),
        ({"view": 3}, ["view is 3 (int)", "must be a text"]),
        ({"observation": "all"}, ["observation is 'all'", "'full', 'last'"]),
        ({"render_mode": "human"}, ["render_mode is 'human'", "'ansi'"]),
        ({"stop_strings": "END"}, ["stop_strings is the text 'END'", "['END']"]),
        ({"stop_strings": 3}, ["stop_strings is 3 (int)", "must be a list"]),
        ({"tool_format": "xml"}, ["tool_format is 'xml'", "'tag'", "'hermes'"]),
        ({"malformed_call": "raise"}, ["malformed_call is 'raise'", '"answer" or "end"']),
        ({"limits": {"turn_token": 3}}, ["'turn_token'", "Did you mean 'turn_tokens'?"]),
        ({"limits": {"turn_tokens": "3"}}, ["Limits.turn_tokens is '3'", "whole number of at least 1"]),
        ({"limits": {"turn_tokens": 0}}, ["Limits.turn_tokens is 0", "at least 1"]),
        ({"limits": {"seconds": "3"}}, ["Limits.seconds is '3'", "above 0, or None"]),
        ({"limits": 3}, ["limits is 3", "must be Limits", '{"turns": 3}']),
        ({"limits": {"context_tokens": 3}}, ["context holds 3", "Raise Limits.context_tokens or shorten the prompt"]),
    ],
)
def test_keyword_of_an_environment(keywords, words):
    assert_says(complaint(ConfigError, ValueError, lambda: gym.make(COPY, **keywords).reset()), *words)


@pytest.mark.parametrize(
    ("env_id", "keywords", "words"),
    [
        ("llmgym/Math-v0", {"difficulty": "hard"}, ["difficulty is 'hard' (str)", "whole number"]),
        ("llmgym/Math-v0", {"difficulty": 6}, ["difficulty is 6", "from 1 to 5"]),
        ("llmgym/Math-v0", {"answer_format": "boxed"}, ["answer_format is 'boxed'", "'box', 'tags', 'last_number'"]),
        ("llmgym/Math-v0", {"families": ["algebra"]}, ["families is ['algebra']", "must be one of:"]),
        ("llmgym/Math-v0", {"columns": "question"}, ["columns is 'question' (str)", "table of settings or none"]),
        ("llmgym/Calculator-v0", {"format_reward": "x"}, ["format_reward is 'x' (str)", "must be a number"]),
        ("llmgym/Calculator-v0", {"digits": 4}, ["digits is 4", "1 to 3"]),
        ("llmgym/GuessNumber-v0", {"upper": 2}, ["upper is 2", "at least 3"]),
    ],
)
def test_setting_of_another_environment(env_id, keywords, words):
    assert_says(complaint(ConfigError, ValueError, lambda: gym.make(env_id, **keywords)), *words)


def test_numbers_of_numpy_are_numbers():
    env = gym.make("llmgym/Calculator-v0", digits=np.int64(1), min_product=np.int32(2), format_reward=np.float32(0.5))

    assert env.reset(seed=0)


def test_unknown_id_is_answered_by_gymnasium_with_the_nearest_one():
    with pytest.raises(gym.error.NameNotFound, match=r"`Coppy`.*Did you mean: `Copy`\?"):
        gym.make("llmgym/Coppy-v0")


@pytest.mark.parametrize(
    "call",
    [
        lambda: llmgym.check_env("CartPole-v1"),
        lambda: llmgym.check_env("CartPole-v1", digits=3),
        lambda: llmgym.evaluate(lambda messages: "hi", "CartPole-v1"),
        lambda: llmgym.train(env="CartPole-v1", output="never-made"),
    ],
)
def test_environment_of_another_library(call):
    message = complaint(ConfigError, ValueError, call)

    assert_says(message, "'CartPole-v1' is not an environment of llmgym", "`llmgym envs`", "llmgym.register_env")
    assert not Path("never-made").exists()


def test_module_before_the_colon_of_an_id_is_not_there():
    message = complaint(ConfigError, ValueError, lambda: llmgym.check_env("no_such_package:my/Task-v0"))

    assert_says(message, "no module 'no_such_package'", "'no_such_package:my/Task-v0'", "PYTHONPATH")


@pytest.mark.parametrize("entry", [3, "no_colon"])
def test_registering_what_can_make_no_environment(entry):
    message = complaint(RegistrationError, ValueError, lambda: llmgym.register_env("bad-input/None-v0", entry))

    assert_says(message, repr(entry), "'bad-input/None-v0'", "llmgym.MessageEnv", "package.module:Name")
    assert "bad-input/None-v0" not in gym.registry


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        (dict, ConfigError, ["made a dict", "llmgym.MessageEnv"]),
        ("nowhere.to.be:Found", RegistrationError, ["no module 'nowhere'", "'nowhere.to.be:Found'"]),
        ("llmgym.envs.copying:Coppy", RegistrationError, ["'llmgym.envs.copying' has no 'Coppy'"]),
    ],
)
def test_entry_that_turns_out_to_make_no_environment(entry, error, words):
    llmgym.register_env("bad-input/Wrong-v0", entry)
    try:
        assert_says(complaint(error, ValueError, lambda: gym.make("bad-input/Wrong-v0")), *words)
    finally:
        del gym.registry["bad-input/Wrong-v0"]


def test_id_that_stands_for_something_else():
    message = complaint(RegistrationError, ValueError, lambda: llmgym.register_env(COPY, "another:Env"))

    assert_says(message, COPY, "llmgym.envs.copying:CopyEnv", "'another:Env'", "Choose another name or version")


def test_environments_that_make_no_whole_groups():
    message = complaint(ConfigError, ValueError, lambda: gym.make_vec(COPY, num_envs=3, group_size=2))

    assert_says(message, "3 environments", "groups of 2", "multiple")


# -- reset and step --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "builtin", "words"),
    [
        ({"tsk": "x"}, ConfigError, ValueError, ["'tsk'", "Did you mean 'task'?"]),
        ({"task": 3}, ConfigError, ValueError, ["'task' is 3", "key of a task"]),
        ({"task": "nope"}, UnknownTaskError, LookupError, ["'nope'", '"SEED.INDEX"']),
        ({"split": "dev"}, ConfigError, ValueError, ["split is 'dev'", '"train" and "test"']),
        (3, ConfigError, ValueError, ["options is 3", '{"task": key}']),
    ],
)
def test_options_of_reset(options, error, builtin, words):
    assert_says(complaint(error, builtin, lambda: gym.make(COPY).reset(options=options)), *words)


ACTION = {"token": 104, "turn": [104], "text": "h"}
LAST_ACTION = {"token": 257, "turn": [257], "text": "h"}


def copying(view):
    return gym.make(COPY, text="hi", view=view).unwrapped


@pytest.mark.parametrize("view", ACTION)
def test_step_before_the_first_reset(view):
    env = copying(view)

    message = complaint(ResetNeeded, RuntimeError, lambda: env.step(ACTION[view]))

    assert_says(message, "No episode was begun", "call reset() before the next step")


@pytest.mark.parametrize("view", ACTION)
def test_step_after_the_end(view):
    env = copying(view)
    env.reset(seed=0)
    env.step(LAST_ACTION[view])

    message = complaint(ResetNeeded, RuntimeError, lambda: env.step(ACTION[view]))

    assert_says(message, "The episode is over (answered)", "call reset() before the next step")


@pytest.mark.parametrize(
    ("view", "action", "words"),
    [
        ("token", 264, ["264 is not a token id", "0 to 263"]),
        ("token", -1, ["-1 is not a token id", "0 to 263"]),
        ("token", "h", ["'h' of type str", "takes one token id"]),
        ("token", 1.5, ["1.5 of type float", "takes one token id"]),
        ("token", None, ["None of type NoneType", "takes one token id"]),
        ("token", [104], ["[104] of type list", "takes one token id"]),
        ("turn", [104, 264], ["264 is not a token id", "0 to 263"]),
        ("turn", np.array([-1]), ["-1 is not a token id", "0 to 263"]),
        ("turn", "hi", ["'hi' of type str", "takes a sequence of token ids"]),
        ("turn", 104, ["104 of type int", "takes a sequence of token ids"]),
        ("turn", [1.5], ["[1.5] of type list", "takes a sequence of token ids"]),
        ("turn", [], ["holds no id", "at least one"]),
        ("turn", [104, 257, 105, 105], ["2 ids follow the end of the turn at place 1", "End the action at the end"]),
        ("turn", [104] * 65, ["has 65 ids", "only 64 fit", 'info["max_new_tokens"]']),
        ("text", 104, ["of type int", "takes a str"]),
        ("text", b"hi", ["of type bytes", "takes a str"]),
        ("text", None, ["of type NoneType", "takes a str"]),
    ],
)
def test_action_that_the_view_does_not_take_changes_nothing(view, action, words):
    env = copying(view)
    env.reset(seed=0)
    ids = list(env.episode.ids)

    assert_says(complaint(InvalidAction, ValueError, lambda: env.step(action)), *words)

    assert env.episode.ids == ids
    assert not env.episode.is_over


# -- data ------------------------------------------------------------------------------------------------------

GOOD = '{"problem": "1+1?", "answer": "2"}\n'


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rows.jsonl", GOOD + "{broken\n", ["rows.jsonl, line 2", "'{broken' is not JSON", "one object a line"]),
        ("rows.jsonl", GOOD + '\n{"problem": "?"}\n', ["rows.jsonl, line 3", "'problem'", "'answer' or 'solution'"]),
        ("rows.jsonl", '{"problem": "?", "answer": [1]}', ["line 1", "'answer' holds [1]", "must be text", "Mend"]),
        ("rows.jsonl", "[1]\n", ["rows.jsonl, line 1", "found [1]", '{"problem": ..., "answer": ...}']),
        ("rows.jsonl", "", ["rows.jsonl holds no task", "'train'", "test_dataset"]),
        ("rows.json", "{}", ["rows.json", "a list of objects was expected"]),
        ("rows.json", "[3]", ["rows.json, row 1", "found 3"]),
        ("rows.parquet", "no such thing", ["rows.parquet", "not a Parquet file", ".jsonl"]),
    ],
)
def test_row_or_file_that_cannot_be_used(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    env = gym.make("llmgym/Math-v0", dataset=str(tmp_path / name))

    assert_says(complaint(DataError, ValueError, lambda: env.reset(seed=0)), *words)


@pytest.mark.parametrize(
    ("env_id", "keywords", "words"),
    [
        ("llmgym/Math-v0", {"dataset": "missing.jsonl"}, ["'missing.jsonl'", "looked for /", "Check the path"]),
        ("llmgym/Math-v0", {"dataset": "no-set"}, ["'no-set'", ".jsonl", '"openai/gsm8k"']),
        ("llmgym/GSM8K-v0", {"data_dir": "/missing"}, ["/missing/gsm8k_train.jsonl", "LLMGYM_DATA_DIR"]),
    ],
)
def test_data_set_that_is_not_there(env_id, keywords, words):
    env = gym.make(env_id, **keywords)

    assert_says(complaint(DataNotFoundError, FileNotFoundError, lambda: env.reset(seed=0)), *words)


def test_file_of_trajectories_that_is_not_there():
    from llmgym.rollout import load_trajectories

    message = complaint(DataNotFoundError, FileNotFoundError, lambda: next(load_trajectories("missing.jsonl")))

    assert_says(message, "missing.jsonl", "RUN/trajectories/")


# -- tokenizers and models -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        (3, ["int is not a tokenizer", "'bytes'", "eos_id"]),
        ("/missing/tokenizer", ["no tokenizer folder '/missing/tokenizer'", "tokenizer.json", "'bytes'"]),
    ],
)
def test_tokenizer_that_cannot_be_loaded(tokenizer, words):
    assert_says(complaint(TokenizerError, ValueError, lambda: gym.make(COPY, tokenizer=tokenizer)), *words)


def test_folder_without_a_tokenizer(tmp_path):
    message = complaint(TokenizerError, ValueError, lambda: gym.make(COPY, tokenizer=str(tmp_path)))

    assert_says(message, str(tmp_path), "Give a folder with tokenizer.json")


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("eos_token", ["has no end token", "no turn could ever end", "Set tokenizer.eos_token"]),
        ("chat_template", ["has no chat template", "Set tokenizer.chat_template", "instruction-tuned"]),
    ],
)
def test_tokenizer_that_lacks_what_an_episode_needs(attribute, words):
    from llmgym.training.tiny_model import build_character_tokenizer

    tokenizer = build_character_tokenizer()
    setattr(tokenizer, attribute, None)

    assert_says(complaint(TokenizerError, ValueError, lambda: gym.make(COPY, tokenizer=tokenizer)), *words)


@pytest.mark.parametrize("use", ["train", "evaluate"])
def test_model_folder_that_is_not_there(tmp_path, use):
    folder = tmp_path / "missing"
    calls = {
        "train": lambda: llmgym.train(env=COPY, model=folder, output=str(tmp_path / "run")),
        "evaluate": lambda: llmgym.evaluate(folder, COPY),
    }

    assert_says(complaint(ConfigError, ValueError, calls[use]), f"no model folder '{folder}'", "RUN/model")
    assert not (tmp_path / "run").exists()


def test_folder_without_a_model(tmp_path):
    message = complaint(ConfigError, ValueError, lambda: llmgym.evaluate(tmp_path, COPY))

    assert_says(message, str(tmp_path), "written by `save_pretrained`", "The reason:")
    assert "\n" not in message
