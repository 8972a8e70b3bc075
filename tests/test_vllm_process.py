"""The process that vLLM runs in, with a small program in its place: one that hangs, ends, or tells its environment."""

import asyncio
import os
import socket
import sys
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from llmgym.errors import SamplerError
from llmgym.sampling.vllm import host, process
from llmgym.sampling.vllm.channel import frame, members
from llmgym.sampling.vllm.engines import EngineDied
from llmgym.sampling.vllm.process import EngineProcess

READY = """
import os, pickle, socket, struct, sys, time
channel = socket.socket(fileno=int(sys.argv[1])).makefile("rwb")

def say(*messages):
    body = pickle.dumps(messages)
    channel.write(struct.pack(">Q", len(body)) + body)
    channel.flush()

def heard():
    while size := channel.read(8):
        yield pickle.loads(channel.read(struct.unpack(">Q", size)[0]))

said = heard()
next(said)
say(("ready", {"environment": dict(os.environ)}))
"""
HANGS = "\ntime.sleep(60)"
NUM_SIGNS = 6  # one and a half times as many as it may leave out
ANSWERS_LATE = f"""
for messages in said:
    for _, number, name, *_ in messages:
        if name == "num_unfinished":
            asked = number
            num_signs = 0
        else:
            say(("returned", number, None))
            num_signs += 1
            if num_signs == {NUM_SIGNS}:
                say(("returned", asked, 3))
"""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts a process that runs a program instead of vLLM."""
    monkeypatch.setattr(process, "_SECONDS_TO_END", 0.1)
    made: list[EngineProcess] = []

    def start(program: str, **settings: Any) -> EngineProcess:
        monkeypatch.setattr(process, "_HOST", (sys.executable, "-c", program))
        made.append(EngineProcess("auto", {}, **settings))
        made[-1].wait_until_ready()
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_what_a_launcher_says_of_the_learners_processes_does_not_reach_vllm(engine, monkeypatch):
    of_launcher = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_NAME", "MASTER_ADDR")
    for name in (*of_launcher, "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "1")

    got = engine(READY, environment={"RANK": 7}).facts["environment"]  # as a run file may have it

    assert {name: got[name] for name in got if "RANK" in name or "WORLD" in name} == {"RANK": "7"}  # asked for by name
    assert not any(name.startswith(("TORCHELASTIC", "MASTER", "ROLE")) for name in got)
    assert got["CUDA_VISIBLE_DEVICES"] == "1"


def test_one_that_says_nothing_though_it_is_asked_is_dead(engine):
    hanging = engine(READY + HANGS, silence_timeout_s=0.4)

    with pytest.raises(EngineDied, match=r"said nothing for 0\.4 seconds"):
        asyncio.run(hanging.num_unfinished())

    assert members(hanging.pid) == []


def test_one_that_does_not_even_read_is_dead(engine):
    hanging = engine(READY + HANGS, silence_timeout_s=0.4)

    with pytest.raises(EngineDied):
        asyncio.run(hanging.collective_rpc("take", weights=bytes(1 << 24)))


def test_one_that_answers_late_but_gives_signs_of_life_is_not_dead(engine):
    late = engine(READY + ANSWERS_LATE)

    async def ask() -> int:
        number = asyncio.create_task(late.num_unfinished())
        await asyncio.sleep(0)
        for _ in range(NUM_SIGNS):
            late._look()  # as it would when its time has come; a sign may take as long as it likes
            while late._num_silent_looks:
                await asyncio.sleep(0.001)
        return await number

    assert NUM_SIGNS > process._NUM_LOOKS
    assert asyncio.run(asyncio.wait_for(ask(), 60)) == 3


def test_a_start_that_hangs_ends_with_an_error(engine):
    with pytest.raises(SamplerError, match=r"did not start within 0\.3 seconds.*start_timeout_s") as caught:
        engine("import time; time.sleep(60)", start_timeout_s=0.3)

    assert not isinstance(caught.value, EngineDied)  # to try again would hang again


def test_what_vllm_says_when_it_cannot_start_is_told_with_the_end_of_its_log(engine):
    fails = """
import sys, types
from llmgym.sampling.vllm import host

def start_engine(**settings):
    raise ValueError("no such model")

sys.modules["llmgym.sampling.vllm.host_engines"] = types.SimpleNamespace(start_engine=start_engine)
host.main()
"""

    with pytest.raises(SamplerError, match=r"(?s)did not start. ValueError: no such model.*Traceback.*in start_engine"):
        engine(fails)


def test_a_start_that_was_killed_is_a_death_which_another_start_may_mend(engine):
    with pytest.raises(EngineDied, match="status -9 while it started"):
        engine(READY.replace("say((", "os.kill(os.getpid(), 9); say(("))


def test_closing_one_that_is_long_gone_ends_nobody_who_has_its_number_now(engine, monkeypatch):
    gone = engine(READY)
    with pytest.raises(EngineDied):
        asyncio.run(gone.num_unfinished())
    killed: list[int] = []
    monkeypatch.setattr(process, "kill_group", killed.append)

    gone.close()

    assert killed == []
    assert not os.path.exists(gone._folder)


def child_with(play, tmp_path):
    """Our end of a channel, a process that plays at the other one and never comes back, and two folders: that of a
    model, and the one for its temporary files."""
    model, temporary = tmp_path / "model", tmp_path / "temporary"
    model.mkdir(), temporary.mkdir()
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        os.environ["TMPDIR"] = str(temporary)
        play(theirs)
    theirs.close()
    return ours, child, model, temporary


@pytest.mark.parametrize("says_farewell", [False, True])
def test_what_a_killed_parent_leaves_is_removed_and_what_a_living_one_needs_again_is_not(says_farewell, tmp_path):
    ours, child, model, temporary = child_with(lambda theirs: host._receive(theirs, SimpleQueue()), tmp_path)

    ours.sendall(frame(("inherit", str(model))) + (frame(("farewell",)) if says_farewell else b""))
    ours.close()

    assert os.waitpid(child, 0)[1] == 0
    assert (model.exists(), temporary.exists()) == (says_farewell, False)


def test_an_engine_in_the_middle_of_answers_removes_what_a_killed_parent_leaves(tmp_path):
    class Server:
        def serve(self, _, send):
            while True:
                send([("generated", "1", None)])

    def play(theirs):
        sys.argv = ["host", str(theirs.detach())]
        sys.modules[f"{host.__package__}.host_engines"] = SimpleNamespace(start_engine=lambda: (Server(), {}))
        host.main()

    ours, child, model, temporary = child_with(play, tmp_path)
    ours.sendall(frame(("inherit", str(model))) + frame({}))

    ours.recv(1)
    ours.close()

    assert os.waitpid(child, 0)[1] == 0
    assert (model.exists(), temporary.exists()) == (False, False)
