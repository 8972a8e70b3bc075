"""Waiting: for environments that hang, for calls in threads, and for nothing any more once nobody listens."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest

import llmgym
from llmgym.episode import EnvResponse, StopReason
from llmgym.episode.episode import Episode
from llmgym.episode.waiting import run_to_end
from llmgym.rollout import Collector, plan_groups
from llmgym.sampling import SamplingParams, ScriptedSampler
from llmgym.scoring import Score
from llmgym.threads import DaemonThreads, TookTooLong

X = ScriptedSampler(lambda prompt, params, rng: [120, llmgym.ByteTokenizer.eos_id])


class QuickEnv(llmgym.MessageEnv):
    """Pays for any answer."""

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{split}{n}", prompt=f"task {n}") for n in range(6)])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        self.task = task
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

    async def step(self, message: llmgym.AssistantMessage) -> EnvResponse:
        return EnvResponse(score=Score(reward=1.0), terminated=True)


class HangingEnv(QuickEnv):
    """Answers when it is let go."""

    release = threading.Event()
    asked: ClassVar[list[str]] = []
    answered = 0

    def step(self, message: llmgym.AssistantMessage) -> EnvResponse:  # type: ignore[override]
        self.asked.append(self.task.key)
        if self.task.key != "train2":
            type(self).release.wait(60)
        type(self).answered += 1
        return EnvResponse(score=Score(reward=1.0), terminated=True)


class SleepingEnv(QuickEnv):
    """Answers tomorrow, on the event loop."""

    async def step(self, message: llmgym.AssistantMessage) -> EnvResponse:
        await asyncio.sleep(0 if self.task.key == "train2" else 86_400)
        return await super().step(message)


llmgym.register_env("test-waiting/Hanging-v0", HangingEnv)
llmgym.register_env("test-waiting/Sleeping-v0", SleepingEnv)


def test_an_interrupted_collection_does_not_wait_for_an_environment_that_hangs() -> None:
    collector = Collector("test-waiting/Hanging-v0", X, deterministic=False)
    plans = plan_groups([collector.tasks("train")[0]], group_size=3, seed=(0,))

    async def interrupted() -> None:
        running = asyncio.create_task(collector.run(plans, SamplingParams()))
        while len(HangingEnv.asked) < 3:
            await asyncio.sleep(0.01)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(interrupted())

    assert HangingEnv.answered == 0
    hung = set(map(id, collector.pools[0]._envs))
    HangingEnv.release.set()
    asyncio.run(collector.run(plans, SamplingParams()))
    # A thread may still be at work in what was cancelled, so none of it is used again.
    assert len(set(map(id, collector.pools[0]._envs)) - hung) == 3


@pytest.mark.parametrize("env", ["Hanging", "Sleeping"])
def test_an_environment_that_does_not_answer_in_time_ends_its_own_episode_as_truncated(
    env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    HangingEnv.release.clear()
    limits = {"limits": {"seconds": 0.2}}
    seconds_left: Any = Episode.seconds_left
    # The third has all the time that it needs, on a slow machine too.
    monkeypatch.setattr(
        Episode, "seconds_left", property(lambda self: None if self.task.key == "train2" else seconds_left.fget(self))
    )
    collector = Collector(f"test-waiting/{env}-v0", X, env_kwargs=limits, deterministic=False)
    tasks = list(collector.tasks("train"))[:3]

    trajectories = asyncio.run(collector.run(plan_groups(tasks, group_size=1, seed=(0,)), SamplingParams()))

    HangingEnv.release.set()
    assert [(t.stop_reason, t.truncated, t.is_valid) for t in trajectories] == [
        (StopReason.TIME_LIMIT, True, True), (StopReason.TIME_LIMIT, True, True), (StopReason.ANSWERED, False, True),
    ]  # fmt: skip
    assert [len(t.turns) for t in trajectories] == [1, 1, 1]
    assert len(collector.pools[0]._idle) == 1  # what was given up is not used again


def test_a_process_ends_though_an_environment_hangs() -> None:
    program = """
import asyncio, threading
from llmgym.threads import DaemonThreads

async def main():
    await asyncio.wait_for(DaemonThreads(2).run(threading.Event().wait), timeout=0.1)

try:
    asyncio.run(main())
except TimeoutError:
    print("interrupted")
"""

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert (ended.stdout, ended.stderr) == ("interrupted\n", "")


# -- calls in threads -----------------------------------------------------------------------------------------------


def test_calls_in_threads_give_back_what_they_return_or_raise_and_no_more_than_allowed_run_at_once() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def call(number: int) -> int:
        nonlocal running, most
        with lock:
            running, most = running + 1, max(most, running + 1)
        time.sleep(0.01)
        with lock:
            running -= 1
        return 10 // number

    async def all_of_them() -> list[Any]:
        threads = DaemonThreads(3)
        calls = [threads.run(partial(call, number)) for number in range(6)]
        return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(all_of_them())

    assert isinstance(results[0], ZeroDivisionError)
    assert results[1:] == [10, 5, 3, 2, 2]
    assert 1 <= most <= 3


def test_a_call_that_was_left_behind_takes_no_place_and_ends_its_thread() -> None:
    threads, forever, working = DaemonThreads(1), threading.Event(), list[threading.Thread]()

    def hang() -> None:
        working.append(threading.current_thread())
        forever.wait()

    async def hang_then_work() -> int:
        with pytest.raises(TookTooLong, match=r"longer than 0.01 seconds"):
            await threads.run(hang, timeout_s=0.01)
        while not working:  # it had begun, and no more is known of it
            await asyncio.sleep(0.001)
        return await threads.run(lambda: 7, timeout_s=60)

    assert asyncio.run(hang_then_work()) == 7
    forever.set()
    working[0].join(60)
    assert not working[0].is_alive()


def test_a_call_that_nobody_waits_for_any_more_never_begins() -> None:
    threads, busy, begun = DaemonThreads(1), threading.Event(), list[int]()

    async def give_up_while_queued() -> None:
        first = asyncio.create_task(threads.run(busy.wait))
        await asyncio.sleep(0)  # it is in the queue
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(threads.run(partial(begun.append, 2)), timeout=0.05)
        busy.set()
        await first
        await threads.run(partial(begun.append, 3))

    asyncio.run(give_up_while_queued())

    assert begun == [3]


def test_the_time_of_a_call_counts_from_its_beginning_and_not_while_it_queues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, skipped_s = DaemonThreads(1), 0.0

    async def both() -> list[Any]:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: time.monotonic() + skipped_s)

        def skip_time() -> None:
            nonlocal skipped_s
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()  # the other call is in the queue
            skipped_s = 1000.0
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), loop).result()  # the loop has seen what time it is

        return await asyncio.gather(threads.run(skip_time), threads.run(lambda: 7, timeout_s=500))

    assert asyncio.run(both()) == [None, 7]


@pytest.mark.parametrize("timeout_s", [None, 60])
def test_a_timeout_of_the_call_itself_is_told_from_the_limit(timeout_s: float | None) -> None:
    def fail() -> None:
        raise TimeoutError("the server is slow")

    with pytest.raises(TimeoutError, match="the server is slow") as raised:
        asyncio.run(DaemonThreads(1).run(fail, timeout_s=timeout_s))

    assert not isinstance(raised.value, TookTooLong)


def test_closed_threads_end_and_come_back_when_they_are_needed() -> None:
    threads, before = DaemonThreads(3), set(threading.enumerate())
    for _ in range(2):
        assert asyncio.run(threads.run(lambda: 1)) == 1
        threads.close()
        deadline = time.monotonic() + 60
        while set(threading.enumerate()) - before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert set(threading.enumerate()) <= before


class Unwritable:
    """Long to write out, as a thousand episodes are."""

    num_written = 0

    def __repr__(self):
        Unwritable.num_written += 1
        return "much"


def test_what_a_run_comes_to_is_returned_without_being_written_out():
    result = [Unwritable()]

    async def come():
        return result

    assert run_to_end(come()) is result
    assert Unwritable.num_written == 0


def test_an_interrupt_in_a_notebook_ends_the_run_in_its_thread() -> None:
    ended = list[str]()

    async def run() -> None:
        try:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ended.append("cleanly")
            raise

    async def cell() -> None:
        with pytest.raises(KeyboardInterrupt):
            run_to_end(run())

    loop, former = asyncio.new_event_loop(), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        loop.run_until_complete(cell())  # as a notebook's kernel does, and not with the handler of `asyncio.run`
    finally:
        signal.signal(signal.SIGINT, former)
        loop.close()

    assert ended == ["cleanly"]
