"""Python and a shell in a sandbox, as tools of an episode."""

import asyncio
import pickle

import numpy as np
import pytest

from llmgym import EnvResponse, FiniteTasks, InitialMessages, ToolCall, ToolEnv
from llmgym.errors import SandboxError
from llmgym.execution import Limits
from llmgym.messages import AssistantMessage
from llmgym.tools import Python, Shell, Workspace

# What holds hostile code is tested elsewhere, at every level; these tests run only code of their own.
TRUSTED = {"sandbox": "process", "allow_unsafe": True}
RNG = np.random.default_rng(0)


@pytest.fixture
def workspace():
    opened = Workspace({"given.txt": b"given\n"}, limits=Limits(wall_s=30), **TRUSTED)
    yield opened
    opened.close()


def ask(tool, text):
    async def answer():
        (name,) = tool.parameters["required"]
        return await tool.call(ToolCall(tool.name, {name: text}))

    result = asyncio.run(answer())
    assert not result.is_error
    return result.content


def test_shell_and_python_work_in_one_directory(workspace):
    shell, python = Shell(workspace), Python(workspace)

    assert ask(shell, "cat given.txt; echo made > made.txt") == "given"
    assert ask(python, "text = open('made.txt').read()\ntext") == "'made\\n'"
    assert ask(python, "len(text)") == "5"


def test_how_a_command_ended_is_told(workspace):
    shell, python = Shell(workspace), Python(workspace)

    assert ask(shell, "true") == "(no output)"
    assert ask(shell, "echo out; echo err >&2; exit 3") == "out\nerr\n[exit code 3]"
    assert ask(shell, "kill -9 $$") == "[ended by signal 9]"
    assert "ZeroDivisionError: division by zero\n[exit code 1]" in ask(python, "1 / 0")


def test_what_does_not_end_is_stopped():
    workspace = Workspace(limits=Limits(wall_s=0.5), **TRUSTED)

    assert ask(Shell(workspace), "sleep 60") == "[stopped: it used up its time]"
    workspace.close()


def test_every_episode_begins_in_a_new_directory(workspace):
    ask(Shell(workspace), "rm given.txt; touch left.txt")

    tools = [tool.begin(RNG) for tool in (Shell(workspace), Python(workspace))]

    assert ask(tools[0], "ls") == "given.txt"
    assert tools[1].workspace is tools[0].workspace


class Works(ToolEnv):
    def __init__(self, workspace):
        self.tools = (Shell(workspace), Python(workspace))

    def tasks(self, _):
        return FiniteTasks([])

    def reset(self, task, rng):
        self.begin_tools(rng)
        return InitialMessages(())

    def answer(self, message):
        return EnvResponse()


def test_a_fork_has_files_and_names_of_its_own(workspace):
    env = Works(workspace)
    env.reset(None, RNG)
    ask(env.tools[1], "x = 1; open('f', 'w').write('one')")
    fork = env.fork()
    ask(fork.tools[1], "x = 2; open('f', 'w').write('two')")

    assert ask(env.tools[1], "x, open('f').read()") == "(1, 'one')"
    assert ask(fork.tools[0], "cat f") == "two"
    fork.close()
    fork.close()


def test_an_unused_workspace_is_pickled_and_closed_without_being_opened():
    env = pickle.loads(pickle.dumps(Works(Workspace(**TRUSTED))))
    env.close()

    assert env.tools[0].workspace is env.tools[1].workspace


def test_calls_of_one_turn_run_in_order(workspace):
    env = Works(workspace)
    env.reset(None, RNG)
    calls = (ToolCall("shell", {"command": "sleep 0.1; echo 1 >> f"}), ToolCall("python", {"code": "open('f').read()"}))

    response = asyncio.run(env.step(AssistantMessage(content="", tool_calls=calls)))

    assert [message.content for message in response.messages] == ["(no output)", "'1\\n'"]


class Unfillable(Workspace):
    def fill(self, session):
        raise SandboxError("there is no room")


def test_a_sandbox_that_could_not_be_filled_is_never_worked_in():
    workspace = Unfillable(**TRUSTED)

    for _ in range(2):
        with pytest.raises(SandboxError, match="no room"):
            ask(Shell(workspace), "ls")
    assert not workspace.is_open
