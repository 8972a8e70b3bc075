"""Environments with tools: order and overlap of calls, tools of an episode, and answers that are submitted."""

import asyncio
import copy
import inspect
import threading

import numpy as np
import pytest

from llmgym import EnvResponse, FiniteTasks, InitialMessages, Message, Score, Task, TokenEnv, ToolCall, ToolEnv
from llmgym.episode.check_env import check_env
from llmgym.episode.rubric_env import RubricEnv
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, MalformedCall
from llmgym.scoring import Part
from llmgym.tools import Files, FunctionTool, Python, Shell, Sql, Submit, Tool, Workspace

TASK = Task(key="task", prompt="find it", answer="it")
RNG = np.random.default_rng(0)


class Asks(ToolEnv):
    """Ends with any answer but "wait"."""

    def __init__(self, *tools):
        self.tools = tools

    def tasks(self, _):
        return FiniteTasks([TASK])

    def reset(self, task, rng):
        self.begin_tools(rng)
        return InitialMessages((Message("user", task.prompt),))

    def answer(self, message):
        self.answered = message
        if message.content == "wait":
            return EnvResponse(messages=(Message("user", "well?"),))
        return EnvResponse(score=Score(reward=float(message.content == "it")), terminated=True)


class AsksLater(Asks):
    async def answer(self, message):
        return super().answer(message)


def begun(*tools, kind=Asks):
    env = kind(*tools)
    env.reset(TASK, RNG)
    return env


def turn(*calls, malformed=()):
    return AssistantMessage(
        content="text",
        tool_calls=tuple(ToolCall(name, arguments, id=str(i)) for i, (name, arguments) in enumerate(calls)),
        malformed_calls=tuple(MalformedCall("?", problem) for problem in malformed),
    )


def step(env, *calls, **settings):
    async def answer():
        response = env.step(turn(*calls, **settings))
        return await response if inspect.isawaitable(response) else response

    return asyncio.run(answer())


def calls(tool, names):
    return [(tool, {"name": name}) for name in names]


def contents(response):
    return [message.content for message in response.messages]


def note_tools(notes, **settings):
    """Tools that note when they begin and end; `slow` takes a thread, or the event loop's time."""

    async def slow(name: str) -> str:
        """Slow."""
        notes.append(f"{name} begins")
        await asyncio.sleep(0.001)
        notes.append(f"{name} ends")
        return name

    def quick(name: str) -> str:
        """Quick."""
        notes.append(name)
        return name

    return FunctionTool(slow, **settings), FunctionTool(quick)


def test_quick_tools_are_answered_at_once():
    env = begun(*note_tools([]))

    response = env.step(turn(("quick", {"name": "a"}), ("quick", {"name": "b"})))

    assert contents(response) == ["a", "b"]


def test_calls_run_in_order_and_one_at_a_time_unless_their_tool_allows_more():
    notes = []

    response = step(
        begun(*note_tools(notes)), ("slow", {"name": "a"}), ("slow", {"name": "b"}), ("quick", {"name": "c"})
    )

    assert notes == ["a begins", "a ends", "b begins", "b ends", "c"]
    assert contents(response) == ["a", "b", "c"]
    assert [message.tool_call_id for message in response.messages] == ["0", "1", "2"]


def test_calls_of_a_concurrent_tool_overlap_but_overtake_no_other():
    notes = []
    env = begun(*note_tools(notes, is_concurrent=True))

    response = step(
        env, *(("slow", {"name": name}) for name in "ab"), ("quick", {"name": "c"}), ("slow", {"name": "d"})
    )

    assert notes[:2] == ["a begins", "b begins"]
    assert notes[4:] == ["c", "d begins", "d ends"]
    assert contents(response) == ["a", "b", "c", "d"]


def test_a_turn_of_very_many_calls_runs_only_a_few_at_once():
    running, most = set(), []

    async def busy(number: int) -> int:
        """Busy."""
        running.add(number)
        most.append(len(running))
        await asyncio.sleep(0)
        running.discard(number)
        return number

    response = step(begun(FunctionTool(busy, is_concurrent=True)), *(("busy", {"number": n}) for n in range(50)))

    assert contents(response) == [str(number) for number in range(50)]
    assert 1 < max(most) <= 8


def test_a_failing_call_raises_after_the_others_of_its_turn_have_ended():
    ended = []

    async def fetch(number: int) -> int:
        """Fetches."""
        if number == 0:
            raise OSError("the line is dead")
        await asyncio.sleep(0.001)
        ended.append(number)
        return number

    with pytest.raises(OSError, match="dead"):
        step(begun(FunctionTool(fetch, is_concurrent=True)), ("fetch", {"number": 0}), ("fetch", {"number": 1}))
    assert ended == [1]


def test_errors_of_tools_and_of_calls_are_counted_beside_good_answers():
    response = step(
        begun(*note_tools([])), ("quick", {"name": 3}), ("none", {}), ("slow", {"name": "a"}), malformed=["no name"]
    )

    assert [content.startswith("error: ") for content in contents(response)] == [True, True, False, True]
    assert response.num_tool_errors == 3


class Die(Tool):
    """Rolls numbers of its episode."""

    name = "roll"
    description = "Rolls a die."
    parameters = {"type": "object", "properties": {}}  # noqa: RUF012

    def __init__(self, rng=None):
        self.rng, self.is_closed = rng, False

    def begin(self, rng):
        self.close()
        return Die(np.random.default_rng(rng.integers(2**32)))

    def close(self):
        self.is_closed = True

    def run(self):
        return int(self.rng.integers(10**9))


def rolls(env, times=3):
    return [contents(step(env, ("roll", {})))[0] for _ in range(times)]


def test_a_tools_randomness_is_that_of_the_episodes_seed():
    env = Asks(Die())
    seen = []
    for seed in (1, 1, 2):
        env.reset(TASK, np.random.default_rng(seed))
        seen.append(rolls(env))

    assert seen[0] == seen[1] != seen[2]


def test_a_fork_goes_on_with_tools_of_its_own():
    env = begun(Die())
    rolls(env)
    fork, again = env.fork(), copy.deepcopy(env)

    assert rolls(fork) == rolls(env) == rolls(again)


def test_tools_of_an_episode_are_closed_with_the_next_and_with_the_environment():
    env = begun(Die())
    (first,) = env.tools
    env.reset(TASK, RNG)
    (second,) = env.tools

    was_closed = (first.is_closed, second.is_closed)
    env.close()
    env.close()

    assert was_closed == (True, False)
    assert second.is_closed


def test_tools_of_a_class_are_not_shared_by_the_episodes_of_its_instances():
    class Rolls(Asks):
        tools = (Die(np.random.default_rng(0)), Submit())

        def __init__(self):
            pass

    one, other = begun(kind=Rolls), begun(kind=Rolls)
    one.close()

    assert not other.tools[0].is_closed
    assert not Rolls.tools[0].is_closed
    assert one.tools[1] is other.tools[1]


def test_tools_that_a_task_brought_are_closed_when_the_next_brings_others():
    env = begun(Die())
    (first,) = env.tools
    env.tools = (FunctionTool(lambda: 0, name="zero", description="Zero."),)
    env.begin_tools(RNG)

    assert first.is_closed


def test_a_tool_with_state_that_nobody_began_is_reported_and_not_used():
    class Forgets(Asks):
        def reset(self, task, rng):
            return InitialMessages((Message("user", task.prompt),))

    with pytest.raises(ConfigError, match=r"self.begin_tools\(rng\) in Forgets.reset"):
        step(begun(Die(), kind=Forgets), ("roll", {}))


@pytest.mark.parametrize("kind", [Asks, AsksLater])
@pytest.mark.parametrize("first", ["quick", "slow"])
def test_what_is_submitted_is_judged_and_ends_the_task(kind, first):
    notes = []
    env = begun(*note_tools(notes), Submit(), kind=kind)

    response = step(env, (first, {"name": "a"}), ("submit", {"answer": "it"}), ("quick", {"name": "b"}))

    assert (response.score.reward, response.terminated) == (1.0, True)
    assert contents(response) == ["a", "it"]
    assert "b" not in notes
    assert (env.answered.content, env.answered.tool_calls[0].name) == ("it", "submit")


def test_a_submission_that_does_not_end_the_task_is_answered():
    response = step(begun(Submit()), ("submit", {"answer": "wait"}))

    assert (contents(response), response.terminated) == (["wait", "well?"], False)


def test_a_submission_with_wrong_arguments_is_a_mistake_and_no_answer():
    response = step(begun(Submit()), ("submit", {}))

    assert (contents(response), response.score) == (["error: submit needs the argument 'answer'"], None)


def test_a_task_judged_by_what_was_done_is_submitted_without_an_answer():
    env = begun(Submit("done", takes_answer=False))

    response = step(env, ("done", {}))

    assert (response.terminated, env.answered.content) == (True, "")


def test_a_hanging_tool_does_not_hang_its_episode():
    forever = threading.Event()
    env = begun(FunctionTool(forever.wait, name="wait", description="Waits.", parameters={}, timeout_s=0.01))

    response = step(env, ("wait", {}))

    forever.set()
    assert contents(response) == ["error: wait took longer than 0.01 seconds and was given up"]


class NewTools(Asks):
    """Each task comes with a tool of its own."""

    def tasks(self, _):
        return FiniteTasks([Task(key=key, prompt=key) for key in ("left", "right")])

    def reset(self, task, rng):
        self.tools = (FunctionTool(lambda: task.key, name=task.key, description=f"Goes {task.key}."),)
        return super().reset(task, rng)


FREE = Part(name="free", verifier=lambda message, task: Score(reward=0.0))


@pytest.mark.parametrize("env", [NewTools(), RubricEnv(NewTools(), every_turn=[FREE], reward_range=(0, 1))])
def test_a_task_may_come_with_tools_of_its_own(env):
    env = TokenEnv(env, view="text", tool_format="hermes")

    answers = []
    for key in ("left", "right"):
        env.reset(options={"task": key})
        answers.append(env.step(f'<tool_call>{{"name": "{key}"}}</tool_call>')[0])

    assert answers == ["left", "right"]


class Everything(Asks):
    """Finds a word with any of the ready tools."""

    def __init__(self):
        workspace = Workspace({"word.txt": b"it"}, sandbox="process", allow_unsafe=True)
        script = "CREATE TABLE words AS SELECT 'it' AS word"
        files = Files({"word.txt": "it"})
        self.tools = (files, Sql(script=script), Shell(workspace), Python(workspace), Die(), Submit())

    def tasks(self, split):
        return FiniteTasks([Task(key=split, prompt=f"{split}: a word", answer="it")])

    def solve(self, task):
        return [
            ToolCall("files", {"command": "read", "path": "word.txt"}),
            ToolCall("sql", {"statement": "SELECT word FROM words"}),
            ToolCall("shell", {"command": "cat word.txt"}),
            ToolCall("python", {"code": "open('word.txt').read()"}),
            ToolCall("roll", {}),
            ToolCall("submit", {"answer": "it"}),
        ]


@pytest.mark.slow
def test_an_environment_with_tools_of_every_kind_keeps_every_promise():
    report = check_env(Everything(), num_tasks=1, tool_format="hermes", limits={"turns": 8})

    assert {"seeds", "views", "reference", "closing", "pickling"} <= set(report.passed)
    assert report.problems == ()
