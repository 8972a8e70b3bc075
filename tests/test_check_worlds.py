"""The conformance check's rules about many turns find each broken promise, and nothing in what is whole."""

import subprocess
from itertools import count

import pytest
from support.chat_families import FAMILIES, backend_of

import llmgym
from llmgym import EnvResponse, FiniteTasks, InitialMessages, Limits, Message, Score, Task, TokenEnv, ToolEnv
from llmgym.episode.check_rules import RULES
from llmgym.errors import CheckError
from llmgym.messages import ToolCall, load_tokenizer
from llmgym.tools import FunctionTool, Submit


def look(place: str) -> str:
    """Look at a place.

    Args:
        place: its name.
    """
    return f"nothing at {place}"


class Whole(ToolEnv):
    """Keeps every promise: look first, then submit the word in capitals."""

    tools = (FunctionTool(look), Submit())
    default_limits = Limits(turns=4, turn_tokens=60, episode_tokens=200, context_tokens=600)

    def tasks(self, split):
        words = [f"{start}{end}" for start in "abcdefghij" for end in ("ox", "en", "um")]
        half = words[::2] if split == "train" else words[1::2]
        return FiniteTasks([Task(key=word, prompt=word, answer=word.upper()) for word in half])

    def reset(self, task, rng):
        self.task = task
        return InitialMessages((Message("user", f"capitals of {task.prompt}"),))

    def answer(self, message):
        return EnvResponse(score=Score(reward=float(message.content == self.task.answer)), terminated=True)

    def solve(self, task):
        return [ToolCall("look", {"place": "here"}), ToolCall("submit", {"answer": task.answer})]


class PaysForLooking(Whole):
    def reset(self, task, rng):
        self.has_looked = False
        return super().reset(task, rng)

    def step(self, message):
        self.has_looked |= bool(message.tool_calls)
        return super().step(message)

    def answer(self, message):
        response = super().answer(message)
        return EnvResponse(score=Score(reward=1.0), terminated=True) if self.has_looked else response


class PaysInAdvance(Whole):
    def step(self, message):
        response = super().step(message)
        is_look = any(call.name == "look" and call.arguments["place"] == "here" for call in message.tool_calls)
        return EnvResponse(messages=response.messages, score=Score(reward=1.0)) if is_look else response


class LeavesProcesses(Whole):
    children = []  # noqa: RUF012

    def reset(self, task, rng):
        self.children.append(subprocess.Popen(["sleep", "60"]))
        return super().reset(task, rng)


class LeavesFiles(Whole):
    files = []  # noqa: RUF012

    def reset(self, task, rng):
        self.files.append(open(__file__))  # noqa: SIM115
        return super().reset(task, rng)


class Drifting(llmgym.ByteTokenizer):
    """Opens a message of a tool now in one way, now in another."""

    def __init__(self):
        super().__init__()
        self.calls = count()

    def header(self, role):
        return [*super().header(role), next(self.calls) % 7] if role == "tool" else super().header(role)


@pytest.fixture(autouse=True)
def _clean_up():
    yield
    for child in LeavesProcesses.children:
        child.kill()
        child.wait()
    for file in LeavesFiles.files:
        file.close()


def test_a_world_that_keeps_its_promises_passes_every_rule():
    report = llmgym.check_env(Whole(), num_tasks=4)

    assert {"growth", "reading", "budgets", "leftovers"} <= set(report.passed)


@pytest.mark.parametrize(
    ("env", "rule", "finding"),
    [
        (PaysForLooking, "reading", "Calling every tool once and saying nothing earned the full reward on 4 of 4"),
        (PaysInAdvance, "budgets", "turns=1.*the reward 1.0"),
        (LeavesProcesses, "leftovers", "4 child processes instead of|child processes instead of"),
        (LeavesFiles, "leftovers", "open files instead of"),
    ],
)
def test_a_broken_promise_is_found(env, rule, finding):
    with pytest.raises(CheckError, match=rf"- {rule}: .*{finding}"):
        llmgym.check_env(env(), num_tasks=4)


def test_ids_that_drift_while_a_conversation_grows_are_found():
    with pytest.raises(CheckError, match=r"- growth: Before turn 1 of task .* from id \d+ on, and not"):
        llmgym.check_env(Whole(), num_tasks=2, tokenizer=Drifting(), skip=["seeds", "views"])


def test_calls_that_a_template_spells_in_its_own_way_are_no_drift(trained_bpe):
    tokenizer = load_tokenizer(backend_of(FAMILIES["gpt-oss"], trained_bpe))
    world = TokenEnv(Whole(), tokenizer=tokenizer, limits={"turn_tokens": 200, "context_tokens": 2000})

    report = llmgym.check_env(world, num_tasks=1, skip=RULES.keys() - {"growth"})

    assert report.passed == ("growth",)


def test_every_keyword_of_an_environment_that_was_made_is_kept():
    made = []

    class NotesItsKeywords(TokenEnv):
        def __init__(self, env, *, view="token", **keywords):
            made.append(keywords)
            super().__init__(env, view=view, **keywords)

    wanted = {
        "tokenizer": llmgym.ByteTokenizer(),
        "limits": Limits(turns=3),
        "split": "test",
        "tool_format": "tag",
        "reasoning": "think",
        "malformed_call": "end",
        "malformed_penalty": 0.5,
        "stop_strings": ("stop",),
        "chat": "template",
        "chat_template_kwargs": {"mood": "calm"},
    }

    llmgym.check_env(NotesItsKeywords(Whole(), **wanted), skip=RULES)

    assert made == [wanted] * 4


class EndsInManyTokens(llmgym.ByteTokenizer):
    end_ids = frozenset(range(262, 400))


def test_random_turns_end_at_the_first_of_all_end_tokens():
    env = TokenEnv(Whole(), tokenizer=EndsInManyTokens(vocab_size=400))

    assert llmgym.check_env(env, skip=RULES.keys() - {"robustness", "views"}).passed == ("robustness", "views")
