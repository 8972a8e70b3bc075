"""The promises of `check_env` that are about many turns: how ids grow, tools, budgets, and what is left behind."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..messages import ToolCall
from .check_findings import FEW, Findings, Note, Problem
from .check_plays import TOLERANCE, Play, Probe, Subject, Turn, always
from .limits import Limits, StopReason
from .token_env import TokenEnv
from .trajectory import TurnRecord

_SAMPLE_OF_TYPE: Mapping[str, Any] = {
    "string": "a", "integer": 1, "number": 1, "boolean": False, "array": (), "object": {},
}  # fmt: skip


def check_growth(subject: Subject) -> Findings:
    """What the model is prompted with before each turn is, id for id, the conversation so far rendered at once.

    Where turns hold calls, which a template may spell in its own way, it is so before the first of them and behind the
    last.
    """
    env, is_known = subject.envs["turn"], False
    for task in subject.tasks[:FEW]:
        probe = subject.reference(task)
        if probe is None:
            continue
        is_known = True
        play = subject.play("the reference turns", probe, task)
        for turn_index, difference in _grown_otherwise(env, play):
            yield Problem(
                f"Before turn {turn_index} of task {task.key!r} the model is prompted with {difference}",
                "the ids of the conversation rendered at once",
                "leave the ids of an episode to TokenEnv, and change no message after it was given out",
            )
            return
    if not is_known:
        yield Note("solve() knows no reference turns, so no conversation was grown")


def _grown_otherwise(env: TokenEnv, play: Play) -> list[tuple[int, str]]:
    """Turns before which the ids are others than those of the whole, and how they differ."""
    trajectory, episode = play.trajectory, env.episode
    if trajectory is None:
        return []
    places = {id(message): place for place, message in enumerate(episode.messages)}
    schemas, found = [tool.schema for tool in episode.env.tools], []
    for index, turn in enumerate(trajectory.turns[1:], start=1):
        place = places.get(id(turn.message))
        if place is None:  # it was cut, and never became a message
            continue
        whole = episode.chat.render(episode.messages[:place], tools=schemas)
        grown = trajectory.segments[turn.segment_index].token_ids[: turn.start].tolist()
        if grown != whole and not _agrees_around_calls(grown, whole, trajectory.turns[:index], turn.segment_index):
            at = _first_difference(grown, whole)
            found.append((index, f"{grown[at : at + 8]} from id {at} on, and not {whole[at : at + 8]}"))
    return found


def _agrees_around_calls(
    grown: Sequence[int], whole: Sequence[int], turns: Sequence[TurnRecord], segment_index: int
) -> bool:
    """True where turns of the segment hold calls, and what is before and behind all its turns is in `whole` too."""
    inside = [turn for turn in turns if turn.segment_index == segment_index]
    if not any(turn.message.tool_calls for turn in inside):
        return False
    before, behind = grown[: inside[0].start], grown[inside[-1].stop :]
    return whole[: len(before)] == before and whole[len(whole) - len(behind) :] == behind


def _first_difference(one: Sequence[int], two: Sequence[int]) -> int:
    pairs = enumerate(zip(one, two, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(two)))


def check_reading(subject: Subject) -> Findings:
    """Calling every tool once and then saying nothing earns the full reward on at most half of the tasks."""
    env, full, rewards = subject.envs["turn"], subject.message_env.reward_range[1], []
    for task in subject.tasks:
        subject.begin(env, task)
        calls = _calls_of_everything(env)
        if calls:
            rewards.append(subject.play("a call of every tool", _one_by_one(calls), task).reward)
    num_full = sum(reward >= full - TOLERANCE for reward in rewards)
    if num_full > len(rewards) / 2:
        yield Problem(
            f"Calling every tool once and saying nothing earned the full reward on {num_full} of {len(rewards)} tasks",
            "the full reward on at most half of them",
            "let the verifier look at what was asked for, and pose no task that is done before it began",
        )


def _one_by_one(calls: Sequence[str]) -> Probe:
    """Each call in a turn of its own, and then nothing."""
    return lambda index: calls[index] if index < len(calls) else ""


def _calls_of_everything(env: TokenEnv) -> list[str]:
    """A turn for each tool that does not end the episode, with the plainest arguments that fit its schema."""
    turns = []
    for tool in env.episode.env.tools:
        properties = tool.parameters.get("properties", {})
        arguments = {name: _sample(properties.get(name, {})) for name in tool.parameters.get("required", ())}
        if not tool.is_final:
            try:
                turns.append(env.episode.parser.write(ToolCall(tool.name, arguments)))
            except ConfigError:  # the form of calls has no text for these arguments
                continue
    return turns


def _sample(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    value = _SAMPLE_OF_TYPE.get(kind, "a")
    return max(value, schema.get("minimum", value)) if kind in ("integer", "number") else value


def check_budgets(subject: Subject) -> Findings:
    """A budget that runs out ends the episode as truncated, for the right reason and without the full reward."""
    task, full = subject.tasks[0], subject.message_env.reward_range[1]
    word = subject.tokenizer.encode("a")[0]
    env = subject.envs["turn"]
    subject.begin(env, task)
    context = len(env.episode.ids) + 2
    tokens = replace(env.limits, turn_tokens=1, context_tokens=context)
    room = replace(env.limits, turn_tokens=8, episode_tokens=8, context_tokens=context)
    cases: list[tuple[StopReason, Limits, Turn]] = [
        (StopReason.TOKEN_BUDGET, tokens, [word]),
        (StopReason.CONTEXT_FULL, room, [word] * 8),
    ]
    turns = env.solve(task)
    if turns is not None and len(turns) > 1:
        cases.append((StopReason.TURN_BUDGET, replace(env.limits, turns=1), turns[0]))
    for expected, limits, turn in cases:
        tight = subject.make("turn")
        tight.limits = limits
        tight.episode.settings = replace(tight.episode.settings, limits=limits)
        play = subject.play(f"a budget of {limits}", always(turn), task, env=tight)
        tight.close()
        reason = play.trajectory.stop_reason if play.trajectory is not None else play.error
        if play.terminated or not play.is_over or reason is not expected or play.reward >= full - TOLERANCE:
            yield Problem(
                f"Task {task.key!r} under {limits} ended with {reason}, terminated={play.terminated} and the reward "
                f"{play.reward}",
                f"stop_reason {expected}, truncated and not terminated, without the full reward",
                "leave budgets to TokenEnv, and pay in step() for what was done, not for having begun",
            )
            return


def check_leftovers(subject: Subject) -> Findings:
    """Environments that were closed leave no process and no open file; what is shared and kept is not counted."""
    if not Path("/proc/self/task").is_dir():
        yield Note("what is left behind can be seen under Linux only")
        return
    _play_and_close(subject)  # whatever is shared is there from now on
    before = _children(), _num_open_files()
    for _ in range(3):
        _play_and_close(subject)
    after = _children(), _num_open_files()
    for what, one, two in zip(("child processes", "open files"), before, after, strict=True):
        if two > one:
            yield Problem(
                f"After three more episodes were played and closed there are {two} {what} instead of {one}",
                "as many as before",
                "free in close() what reset() and step() made",
            )


def _play_and_close(subject: Subject) -> None:
    env, task = subject.make("turn"), subject.tasks[0]
    subject.begin(env, task)
    calls = _calls_of_everything(env)
    subject.play("a call of every tool", _one_by_one(calls), task, env=env)
    env.close()


def _children() -> int:
    """Processes below this one."""
    count, waiting = 0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                children = [int(child) for child in path.read_text().split()]
            except OSError:  # it ended while we looked
                continue
            count += len(children)
            waiting += children
    return count


def _num_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
