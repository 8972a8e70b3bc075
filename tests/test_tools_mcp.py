"""Tools of MCP servers: real ones, over stdin and stdout and over streamable HTTP."""

import asyncio
import copy
import os
import pickle
import socket
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from llmgym import (
    AssistantMessage,
    ByteTokenizer,
    EnvResponse,
    FiniteTasks,
    InitialMessages,
    Message,
    Score,
    Task,
    ToolCall,
    ToolEnv,
    collect,
    register_env,
)
from llmgym.errors import ConfigError, ToolFailure
from llmgym.sampling import ScriptedSampler
from llmgym.tools import McpTools

SERVER = str(Path(__file__).parent / "support" / "mcp_server.py")
COMMAND = [sys.executable, SERVER]
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True, scope="module")
def _needs_mcp(require):
    require("mcp", find_spec("mcp"), "it is not installed")


@pytest.fixture(scope="module")
def shared():
    """The tools of a server that all tests of this file share."""
    tools = McpTools(COMMAND, is_stateless=True)
    yield tools
    tools.close()


@pytest.fixture
def own():
    """The tools of a server that ends with the test."""
    tools = McpTools(COMMAND)
    yield tools
    tools.close()


@pytest.fixture
def url():
    """Of a server over HTTP."""
    with (
        socket.create_server(("127.0.0.1", 0)) as place,
        subprocess.Popen([*COMMAND, str(place.fileno())], pass_fds=[place.fileno()]) as process,
    ):
        try:
            yield f"http://127.0.0.1:{place.getsockname()[1]}/mcp"
        finally:
            process.kill()


class Sums(ToolEnv):
    """Adds with the help of a server."""

    def tasks(self, _):
        return FiniteTasks([Task(key="1", prompt="1", answer="2")])

    def reset(self, task, rng):
        self.begin_tools(rng)
        return InitialMessages((Message("user", task.prompt),))

    def answer(self, message):
        return EnvResponse(score=Score(reward=float(message.content == "2")), terminated=True)


class SumsOfItsOwn(Sums):
    def __init__(self):
        self.tools = McpTools(COMMAND, names=["add", "die"])


def ask(tools, name, **arguments):
    async def answer():
        tool = next(tool for tool in tools if tool.name == name)
        return await tool.call(ToolCall(name, arguments))

    return asyncio.run(answer())


def is_running(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_a_servers_tools_have_its_names_descriptions_and_schemas(shared):
    assert [tool.name for tool in shared] == ["add", "count", "fail", "refuse", "hang", "die", "pid"]
    assert (shared[0].description, shared[0].parameters["required"]) == ("Adds two numbers.", ["left"])


def test_a_tool_answers_in_text_on_whatever_loop_it_is_asked(shared):
    assert [ask(shared, "add", left=3, right=4).content, ask(shared, "add", left=3).content] == ["7", "4"]


def test_mistakes_and_errors_of_a_tool_are_answers(shared):
    wrong, failed, refused = ask(shared, "add", left="3"), ask(shared, "fail"), ask(shared, "refuse")

    assert wrong.content == "error: argument 'left' of add must be of type integer, not str"
    assert (failed.is_error, failed.content) == (True, "error: Error executing tool fail")
    assert (refused.is_error, refused.content) == (True, "error: there is no such day")


def test_calls_of_one_turn_share_the_connection(shared):
    class Env(Sums):
        tools = shared

    calls = tuple(ToolCall("add", {"left": n}) for n in range(20))
    response = asyncio.run(Env().step(AssistantMessage(content="", tool_calls=calls)))

    assert [each.content for each in response.messages] == [str(n + 1) for n in range(20)]


def test_a_server_over_http_has_the_same_tools(url):
    tools = McpTools(url=url, names=["add"])

    assert [tool.name for tool in tools] == ["add"]
    assert ask(tools, "add", left=1).content == "2"
    tools.close()


def test_each_episode_finds_a_new_server_and_the_old_one_is_gone(own):
    answers, pids = [], []
    for _ in range(2):
        for tool in own:
            tool.begin(RNG)
        answers.append([ask(own, "count").content for _ in range(2)])
        pids.append(int(ask(own, "pid").content))

    own.close()
    own.close()
    assert answers[0] == answers[1] != []
    assert pids[0] != pids[1]
    assert not any(map(is_running, pids))


def test_a_server_that_dies_is_a_failure_of_ours_and_the_next_call_finds_a_new_one(own):
    with pytest.raises(ToolFailure, match=r"mcp_server\.py failed: Connection closed"):
        ask(own, "die")

    assert ask(own, "add", left=1).content == "2"


def test_a_server_that_dies_fails_every_call_that_it_had_not_answered(own):
    async def answers():
        calls = [next(tool for tool in own if tool.name == name).call(ToolCall(name, {})) for name in ("hang", "die")]
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(answers())] == [ToolFailure, ToolFailure]


def test_a_call_is_not_left_waiting_where_another_thread_closes_the_connection(own):
    async def answer():
        call = asyncio.ensure_future(next(tool for tool in own if tool.name == "hang").call(ToolCall("hang", {})))
        await asyncio.to_thread(own.close)
        return await call

    with pytest.raises(ToolFailure, match="closed"):
        asyncio.run(answer())


def test_a_call_that_takes_too_long_is_given_up(shared):
    tool = copy.copy(next(tool for tool in shared if tool.name == "hang"))
    tool.timeout_s = 0.05

    assert ask([tool], "hang").content == "error: hang took longer than 0.05 seconds and was given up"


@pytest.mark.parametrize("settings", [{"command": ["/no/such/program"]}, {"url": "http://127.0.0.1:9/mcp"}])
def test_a_server_that_cannot_be_reached_is_a_failure_of_ours(settings):
    with pytest.raises(ToolFailure, match="failed"):
        len(McpTools(**settings))


def test_settings_that_name_no_server_or_no_tool_of_it_are_refused():
    with pytest.raises(ConfigError, match="exactly one"):
        McpTools()
    with pytest.raises(ConfigError, match="exactly one"):
        McpTools(COMMAND, url="http://127.0.0.1:9/mcp")
    tools = McpTools(COMMAND, names=["subtract"])
    with pytest.raises(ConfigError, match="has no tool 'subtract'; it has add, count"):
        len(tools)
    tools.close()


def test_a_copy_has_a_connection_of_its_own_unless_it_would_lose_what_the_server_holds(own):
    copied = pickle.loads(pickle.dumps(own))
    first = ask(own, "pid").content
    second = ask(copied, "pid").content
    copied.close()

    assert first != second
    with pytest.raises(ConfigError, match="cannot be copied"):
        copy.deepcopy(own)


@pytest.mark.slow
def test_an_episode_whose_server_died_is_played_again_with_a_new_one():
    register_env("test/Sums-v0", SumsOfItsOwn)
    add = '<tool_call>{"name": "add", "arguments": {"left": 1}}</tool_call>'
    turns = iter(['<tool_call>{"name": "die"}</tool_call>', add, "2"])
    tokenizer = ByteTokenizer()
    sampler = ScriptedSampler(lambda *_: [*tokenizer.encode(next(turns)), tokenizer.eos_id])

    (trajectory,) = collect("test/Sums-v0", sampler, num_tasks=1, env_kwargs={"tool_format": "hermes"})

    assert (trajectory.reward, trajectory.is_valid, trajectory.metadata["attempts"]) == (1.0, True, 2)
