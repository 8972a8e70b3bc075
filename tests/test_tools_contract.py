"""What every tool promises: results in text, limits, and mistakes that are answers."""

import asyncio
import copy
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgym.messages import ToolCall
from llmgym.tools import FunctionTool, Tool, ToolError


def call(tool, **arguments):
    return tool.call(ToolCall(tool.name, arguments, "call-1"))


def call_and_wait(tool, **arguments):
    async def answer():
        return await call(tool, **arguments)

    return asyncio.run(answer())


def tool_of(function, **settings):
    return FunctionTool(function, name="tool", description="For this test.", **settings)


def saying(answer, **settings):
    return tool_of(lambda: answer, **settings)


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        ("as it is", "as it is"),
        ({"city": "Århus", "zip": [8000]}, '{"city": "Århus", "zip": [8000]}'),
        (4, "4"),
        (None, "null"),
        ([True], "[true]"),
    ],
)
def test_an_answer_is_text_or_becomes_json(answer, content):
    assert call(saying(answer)).content == content


def test_an_answer_that_json_does_not_know_is_the_tools_failure_and_not_the_policys():
    with pytest.raises(TypeError, match="JSON serializable"):
        call(saying(object()))


@given(st.text(max_size=80), st.integers(1, 40))
def test_a_long_answer_keeps_its_ends_and_counts_what_was_cut(text, max_chars):
    content = call(saying(text, max_output_chars=max_chars)).content

    head, tail = text[: (max_chars + 1) // 2], text[max(0, len(text) - max_chars // 2) :]
    cut = f"{head}\n[... {len(text) - max_chars} characters left out ...]\n{tail if max_chars > 1 else ''}"
    assert content == (text if len(text) <= max_chars else cut)


def refuse():
    raise ToolError("there is no such place")


async def refuse_later():
    raise ToolError("there is no such place")


@pytest.mark.parametrize("settings", [{}, {"timeout_s": 60}])
def test_a_tool_error_is_an_answer_wherever_it_is_raised(settings):
    later = call_and_wait(tool_of(refuse_later, **settings))
    now = call_and_wait(tool_of(refuse, **settings)) if settings else call(tool_of(refuse))

    assert later == now
    assert (now.content, now.is_error) == ("error: there is no such place", True)


@pytest.mark.parametrize("error", [OSError("the disk is gone"), TimeoutError("no answer from the disk")])
def test_a_failure_of_the_tool_itself_passes_through_its_time_limit(error):
    def fail():
        raise error

    with pytest.raises(type(error), match="the disk"):
        call_and_wait(tool_of(fail, timeout_s=60))


def test_a_tool_without_a_time_limit_answers_at_once_and_where_it_is_called():
    assert call(tool_of(lambda: threading.current_thread() is threading.main_thread())).content == "true"


def test_a_tool_with_a_time_limit_runs_beside_the_event_loop():
    tool = tool_of(lambda: threading.current_thread().name, timeout_s=60)

    assert call_and_wait(tool).content.startswith("llmgym-call")


def test_a_tool_that_takes_too_long_is_given_up_and_hangs_nobody():
    forever = threading.Event()

    results = [
        call_and_wait(tool_of(wait, timeout_s=0.01, parameters={})) for wait in (forever.wait, asyncio.Event().wait)
    ]

    forever.set()
    assert [result.is_error for result in results] == [True] * 2
    assert {result.content for result in results} == {"error: tool took longer than 0.01 seconds and was given up"}


class Counter(Tool):
    """Counts its calls in an episode; its first one of all may hang."""

    name = "count"
    description = "Counts."
    parameters = {"type": "object", "properties": {}}  # noqa: RUF012

    def __init__(self, hang=None, timeout_s=None):
        self.hang, self.timeout_s, self.num_calls = hang, timeout_s, 0

    def begin(self, rng):
        return Counter(timeout_s=self.timeout_s)

    def run(self):
        self.num_calls += 1
        if self.hang:
            self.hang.wait()
        return self.num_calls


def test_state_that_a_given_up_call_may_still_change_is_not_used_again_in_the_episode():
    hang = threading.Event()
    tool = Counter(hang, timeout_s=0.01)

    call_and_wait(tool)
    tool.timeout_s = 60
    again, begun = call_and_wait(tool), call_and_wait(tool.begin(None))

    hang.set()
    assert again.content == "error: count cannot be used any more: an earlier call did not end"
    assert begun.content == "1"


class Waiting(Counter):
    """Waits for good in its first call, without a thread."""

    async def run(self):
        self.num_calls += 1
        if self.num_calls == 1:
            await asyncio.Event().wait()
        return self.num_calls


def test_a_given_up_call_that_left_nothing_behind_does_not_stop_the_next():
    waiting, stops = Waiting(timeout_s=0.01), iter([threading.Event(), None])
    stateless = tool_of(lambda: (stop := next(stops)) and stop.wait(), timeout_s=0.01)

    given_up = [call_and_wait(waiting), call_and_wait(stateless)]

    waiting.timeout_s = stateless.timeout_s = 60
    assert all("was given up" in result.content for result in given_up)
    assert (call_and_wait(waiting).content, call_and_wait(stateless).content) == ("2", "null")


def test_a_copy_of_a_tool_goes_on_from_the_same_state_on_its_own():
    tool = Counter()
    call(tool)
    copied = copy.deepcopy(tool)

    assert [call(copied).content, call(copied).content, call(tool).content] == ["2", "3", "2"]
