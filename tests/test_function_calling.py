"""`llmgym/FunctionCalling-v0`: generated requests, the leaderboard's own, and what is paid for."""

import gzip
import json

import gymnasium as gym
import numpy as np
import pytest
from llmgym.envs.function_calling import FunctionCallingEnv
from llmgym.envs.function_calling.leaderboard import CATEGORIES
from llmgym.envs.function_calling.refusals import refusal_problem
from llmgym.envs.function_calling.request import REFUSAL, calls_text

import llmgym
from llmgym.errors import ConfigError, DataError, DataNotFoundError
from llmgym.messages import AssistantMessage, MalformedCall, ToolCall

GENERATED = 300
AREA = {
    "name": "geometry.area",
    "description": "Area of a rectangle.",
    "parameters": {
        "type": "dict",
        "properties": {
            "w": {"type": "float"},
            "h": {"type": "float"},
            "tags": {"type": "tuple", "items": {"type": "any"}},
        },
        "required": ["w", "h"],
    },
}


def score_of(env, task, text, *, calls=(), malformed=()):
    env.reset(task, np.random.default_rng(0))
    return env.step(AssistantMessage(text, tool_calls=tuple(calls), malformed_calls=tuple(malformed))).score


def generated(env, count=GENERATED):
    source = env.tasks("train")
    return [source[index] for index in range(count)]


@pytest.fixture
def area_folder(tmp_path):
    """A leaderboard of two tasks."""
    (tmp_path / "bfcl" / "possible_answer").mkdir(parents=True)
    row = {"question": [[{"role": "user", "content": "How large is 2 by 3?"}]], "function": [AREA]}
    answer = {"id": "simple_0", "ground_truth": [{"geometry.area": {"w": [2], "h": [3], "tags": [["a"], ""]}}]}
    (tmp_path / "bfcl" / "BFCL_v4_simple_python.jsonl").write_text(json.dumps({"id": "simple_0", **row}))
    (tmp_path / "bfcl" / "possible_answer" / "BFCL_v4_simple_python.jsonl").write_text(json.dumps(answer))
    with gzip.open(tmp_path / "bfcl" / "BFCL_v4_irrelevance.jsonl.gz", "wt") as file:
        file.write(
            json.dumps({"id": "irrelevance_0", **row, "question": [[{"role": "user", "content": "Sing me a song."}]]})
        )
    return tmp_path


def area_env(folder, category="simple_python", **keywords):
    return FunctionCallingEnv(dataset="bfcl", data_dir=str(folder), categories=[category], **keywords)


def test_every_generated_request_has_an_answer_that_earns_everything():
    env = FunctionCallingEnv(irrelevance=0.2)

    tasks = generated(env)
    rewards = [score_of(env, task, *env.solve(task)).reward for task in tasks]

    assert set(rewards) == {1.0}
    assert len({task.metadata["category"] for task in tasks}) == 5


def test_the_answer_of_another_request_earns_nothing():
    env = FunctionCallingEnv()
    tasks = {task.answer: task for task in generated(env, 100)}

    pairs = zip(tasks.values(), [*list(tasks)[1:], next(iter(tasks))], strict=True)

    assert sum(score_of(env, task, answer).reward for task, answer in pairs) == 0


@pytest.mark.parametrize("said", ["", "0", "[]", REFUSAL, "[f()]", "THE PROMPT"])
def test_policies_that_do_not_read_earn_nothing_by_default(said):
    env = FunctionCallingEnv()

    rewards = [score_of(env, task, said if said != "THE PROMPT" else task.prompt).reward for task in generated(env, 60)]

    assert sum(rewards) == 0


def test_no_argument_of_the_reference_can_be_left_out():
    env = FunctionCallingEnv()
    for task in generated(env, 100):
        for index, (name, arguments) in enumerate(task.metadata["calls"]):
            for parameter in arguments:
                calls = list(task.metadata["calls"])
                calls[index] = (name, {key: value for key, value in arguments.items() if key != parameter})
                assert score_of(env, task, calls_text(calls)).reward == 0


@pytest.mark.parametrize(
    ("function", "said", "instead"),
    [
        ("place_order", "s'", "'"),  # 3 lamps are of the name "lamp", too
        ("set_light", "on=False", "on=False, brightness=0"),
        ("set_heating", ".0", ""),
        ("search_flights", "'adults'", "'children': 0, 'adults'"),
    ],
)
def test_what_may_as_well_be_written_otherwise_earns_as_much(function, said, instead):
    env = FunctionCallingEnv()
    answers = [(task, task.answer) for task in generated(env, 400) if task.answer.startswith(f"[{function}(")]

    others = [(task, answer.replace(said, instead)) for task, answer in answers if "children'" not in answer]

    assert any(answer != task.answer for task, answer in others)
    assert {score_of(env, task, answer).reward for task, answer in others} == {1.0}


def test_native_mode_offers_the_functions_of_the_task_as_tools(area_folder):
    env = area_env(area_folder, mode="native")
    (task,) = env.tasks("test")

    right = score_of(env, task, "", calls=[ToolCall("geometry_area", {"w": 2, "h": 3})])

    assert [tool.name for tool in env.tools] == ["geometry_area"]
    assert env.tools[0].schema["function"]["parameters"]["properties"]["tags"] == {
        "type": "array",
        "items": {"type": "string"},
    }
    assert (right.reward, right.reason) == (1.0, "right")
    assert env.solve(task) == [[ToolCall("geometry_area", {"w": 2, "h": 3})]]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("geometry.area(w=2)", "simple_function_checker:missing_required"),
        ("area(w=2, h=3)", "simple_function_checker:wrong_func_name"),
        ("geometry.area(w=2, h='3')", "type_error:simple"),
        ("geometry.area(w=2, h=4)", "value_error:others"),
        ("The area is 6.", "ast_decoder:decoder_failed"),
        ("[]", "simple_function_checker:wrong_count"),
    ],
)
def test_the_reason_begins_with_the_leaderboards_label(area_folder, text, label):
    env = area_env(area_folder)

    score = score_of(env, env.tasks("test")[0], text)

    assert (score.reward, score.parts["official"], score.reason.split(": ")[0]) == (0.0, 0.0, label)


def test_the_native_answer_without_a_call_is_not_decoded(area_folder):
    env = area_env(area_folder, mode="native")
    (task,) = env.tasks("test")

    for malformed in ((), (MalformedCall("<tool_call>{", "no JSON"),)):
        assert score_of(env, task, "?", malformed=malformed).reason.startswith("ast_decoder:decoder_failed")


@pytest.mark.parametrize(
    ("said", "reward", "official"),
    [
        (REFUSAL, 1, 1), ("Sorry, I can't sing, as I have no tool for it.", 1, 1), ("", 0, 1), ("qwe rty", 0, 1),
        ("Sing me a song.", 0, 1), ("cannot xqzt blorp fnord wibble the zork.", 0, 1), ("[]", 0, 1),
        ("[geometry.area(w=1, h=1)]", 0, 0),
        ("I cannot " * 30 + ".", 0, 1), ("I cannot do it, so run({}) is not for me.", 0, 1),
    ],
)  # fmt: skip
def test_where_no_function_fits_a_readable_refusal_is_paid(area_folder, said, reward, official):
    env = area_env(area_folder, "irrelevance")
    (task,) = env.tasks("test")

    score = score_of(env, task, said)

    assert (score.reward, score.parts["official"]) == (reward, official)
    own = area_env(area_folder, "irrelevance", require_readable_refusal=False)
    assert score_of(own, task, said).reward == official


@pytest.mark.parametrize(("said", "reward"), [("geometry.area(w=1)", 1), ("x()", 0), ("[geometry.area(w=1), y()]", 0)])
def test_where_any_call_is_right_only_calls_of_what_is_there_are_paid(area_folder, said, reward):
    rows = (area_folder / "bfcl" / "BFCL_v4_simple_python.jsonl").read_text()
    (area_folder / "bfcl" / "BFCL_v4_live_relevance.jsonl").write_text(rows)
    env = area_env(area_folder, "live_relevance")

    score = score_of(env, *env.tasks("test"), said)

    assert (score.reward, score.parts["official"]) == (reward, 1)


def test_random_letters_and_bytes_are_no_refusal():
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = bytes(rng.integers(32, 127, size=int(rng.integers(1, 300))).tolist()).decode()
        assert refusal_problem(text, "Sing me a song.") is not None


def test_train_and_test_tasks_differ_and_train_is_never_the_leaderboard(area_folder):
    env = area_env(area_folder)

    assert [task.key for task in env.tasks("test")] == ["simple_0"]
    assert env.tasks("train").size is None


def test_a_missing_or_damaged_file_is_named(area_folder, monkeypatch):
    monkeypatch.delenv("LLMGYM_DATA_DIR", raising=False)
    with pytest.raises(DataNotFoundError, match="data_dir or LLMGYM_DATA_DIR"):
        FunctionCallingEnv(dataset="bfcl").tasks("test")
    with pytest.raises(DataNotFoundError, match="BFCL_v4_multiple"):
        area_env(area_folder, "multiple").tasks("test")
    (area_folder / "bfcl" / "BFCL_v4_simple_python.jsonl").write_text('{"id": "simple_1"}')
    with pytest.raises(DataError, match=r"simple_python.jsonl, line 1.*question"):
        area_env(area_folder).tasks("test")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"mode": "chat"}, "'prompt' or 'native'"), ({"dataset": "x"}, "'generated' or 'bfcl'"),
        ({"irrelevance": 2}, "from 0 to 1"), ({"system_prompt": "Call!"}, "{functions}"),
        ({"prompt_template": ""}, "{prompt}"), ({"categories": ["simple"]}, "bfcl"),
        ({"dataset": "bfcl", "categories": ["simple"]}, "simple_python"),
    ],
)  # fmt: skip
def test_keywords_out_of_range_are_refused(keywords, message):
    with pytest.raises(ConfigError, match=message):
        FunctionCallingEnv(**keywords)


def test_several_calls_of_one_turn_are_written_in_the_form_of_the_episode():
    env = gym.make("llmgym/FunctionCalling-v0", mode="native", view="text", tool_format="hermes").unwrapped
    source = env.message_env.tasks("train")
    task = next(source[index] for index in range(50) if source[index].metadata["category"] == "parallel")

    (text,) = env.solve(task)
    env.reset(seed=0, options={"task": task.key})

    assert text.count("<tool_call>") == len(task.metadata["calls"]) > 1
    assert env.step(text)[1] == 1.0


@pytest.mark.parametrize("keywords", [{}, {"irrelevance": 0.3}, {"mode": "native"}])
def test_the_environment_keeps_its_promises(keywords):
    report = llmgym.check_env("llmgym/FunctionCalling-v0", num_tasks=5, **keywords)

    assert "cheap answers" in report.passed


@pytest.mark.parametrize("mode", ["prompt", "native"])
def test_the_references_of_the_public_tasks_earn_everything(data_folder, mode):
    env = FunctionCallingEnv(dataset="bfcl", data_dir=str(data_folder), mode=mode)
    tasks = list(env.tasks("test"))

    solved = {task.key: (task, *turns) for task in tasks if (turns := env.solve(task)) is not None}
    wrong = []
    for key, (task, turn) in solved.items():
        text, calls = (turn, ()) if isinstance(turn, str) else ("", turn)
        if score_of(env, task, text, calls=calls).reward != 1:
            wrong.append(key)

    assert (len(tasks), wrong) == (3641, [])
    assert {task.metadata["category"] for task in tasks} == set(CATEGORIES)
    unsolved = [task.metadata["category"] for task in tasks if task.key not in solved]
    assert unsolved.count("live_relevance") == 16
    assert len(unsolved) - 16 <= 7
