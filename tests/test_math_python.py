"""Mathematics with a Python tool: the tool computes, the final message is judged, and the sandbox knows no answer."""

import asyncio

import numpy as np
import pytest
from llmgym.envs.math import MathPythonEnv

import llmgym
from llmgym.errors import SandboxError, UnknownSandboxError
from llmgym.messages import AssistantMessage, ToolCall

TRUSTED = {"sandbox": "process", "allow_unsafe": True}


@pytest.fixture
def env():
    made = MathPythonEnv(**TRUSTED)
    yield made
    made.close()
    made.close()


def begun(env, index=0):
    task = env.tasks("train")[index]
    env.reset(task, np.random.default_rng(0))
    return task


def python(env, code):
    call = ToolCall("python", {"code": code})
    return asyncio.run(env.step(AssistantMessage(content="", tool_calls=(call,))))


def test_names_stay_from_call_to_call_and_end_with_the_episode(env):
    begun(env)
    python(env, "x = 20")
    assert python(env, "x + 1").messages[0].content == "21"

    begun(env, index=1)
    assert "NameError" in python(env, "x").messages[0].content


def test_only_the_final_message_earns_and_what_python_prints_does_not(env):
    task = begun(env)

    printed = python(env, f"print(r'\\boxed{{{task.answer}}}')")
    right = env.step(AssistantMessage(f"\\boxed{{{task.answer}}}"))
    wrong = env.step(AssistantMessage(f"\\boxed{{{task.answer}1}}"))

    assert (printed.score, printed.terminated) == (None, False)
    assert [(each.score.reward, each.terminated) for each in (right, wrong)] == [(1.0, True), (0.0, True)]


def test_the_reference_turns_compute_the_answer_and_earn_the_full_reward(env):
    for index in range(4):
        task = begun(env, index)
        call, answer = env.solve(task)
        response = python(env, call.arguments["code"])
        assert response.num_tool_errors == 0
        assert response.messages[0].content == task.answer
        assert env.step(AssistantMessage(answer)).score.reward == 1.0


def test_a_worked_step_is_computed_and_not_quoted(env):
    task = llmgym.Task(key="", prompt="", answer="3/2", metadata={"solution": "1 + 2 = 3\n3 / 2 = 3/2"})

    call, _ = env.solve(task)

    assert call.arguments["code"] == "from fractions import Fraction\nprint(Fraction('3') / Fraction('2'))"


def test_neither_the_problem_nor_its_answer_is_in_the_sandbox(env):
    begun(env)

    told = python(env, "import os; print(os.listdir('.'), sorted(os.environ), sorted(set(globals()) - {'os'}))")

    names = "['HOME', 'LANG', 'PATH', 'PYTHONDONTWRITEBYTECODE', 'PYTHONHASHSEED', 'TMPDIR']"
    assert told.messages[0].content.startswith(f"[] {names}")


def test_a_lost_sandbox_is_an_error_and_no_reward(env):
    begun(env)
    python(env, "1")
    env.tools[0].workspace.session.close()

    with pytest.raises(SandboxError):
        python(env, "1")


@pytest.mark.slow
def test_the_environment_keeps_its_promises():
    llmgym.check_env("llmgym/MathPython-v0", num_tasks=3, **TRUSTED)


def test_a_sandbox_that_cannot_be_used_is_named_before_the_first_episode():
    with pytest.raises(UnknownSandboxError, match="nope"):
        MathPythonEnv(sandbox="nope").tasks("train")
