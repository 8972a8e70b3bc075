"""An engine of vLLM in a process of its own, as the sampler's side sees it."""

import asyncio
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import SamplerError
from ..params import SamplingParams
from .channel import Frames, frame, kill_group, members
from .engines import Adapter, EngineDied, Generated

_HOST = (sys.executable, "-P", "-m", f"{__package__}.host")
_MAX_BYTES = 1 << 20
_TAIL_LINES = 15
_SECONDS_TO_END = 5.0
_LONGEST_FOLDER = 40
_SIGN_OF_LIFE = 0
"""Number of the call whose answer nobody waits for."""
_NUM_LOOKS = 4
"""Until an engine that says nothing counts as dead."""
_OF_LAUNCHERS = re.compile(r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)|TORCHELASTIC_\w+")
"""Environment variables in which `torchrun` and its like describe the learner's processes, of which vLLM is none."""
_ENVIRONMENT = {
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_WAIT_POLICY": "passive",
}
"""Of the engine's process, where nothing else is set."""


class EngineProcess:
    """Starts a process with an engine in it, and talks to it from the event loop that is running.

    Args:
        kind: "in_process", "async" or "auto".
        engine_args: of vLLM.
        num_tokens: ids from here on are never sampled.
        record_kept_tokens: say which tokens top-p and top-k kept.
        environment: further environment variables of the process.
        inherited_folder: that the process removes where the present one ends without a farewell, as a killed one does.
        start_timeout_s: until it is ready.
        silence_timeout_s: in which it must say something, where something is waited for; else it counts as dead.
    """

    def __init__(
        self,
        kind: str,
        engine_args: Mapping[str, Any],
        *,
        num_tokens: int | None = None,
        record_kept_tokens: bool = True,
        environment: Mapping[str, str] | None = None,
        inherited_folder: str = "",
        start_timeout_s: float = 3600.0,
        silence_timeout_s: float = 600.0,
    ) -> None:
        self._start_timeout_s, self._silence_timeout_s = start_timeout_s, silence_timeout_s
        self._num_silent_looks = 0
        self._next_look: asyncio.TimerHandle | None = None
        self._folder = _new_folder()
        self._log = Path(self._folder, "log")
        self._channel, theirs = socket.socketpair()
        # One who does not even read must not hold up the event loop for ever.
        limit = struct.pack("ll", *divmod(int(silence_timeout_s * 1e6), 10**6))
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        with theirs, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*_HOST, str(theirs.fileno())],
                env=self._child_environment(environment or {}),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._finalizer = weakref.finalize(self, _end, os.getpid(), self._process, self._channel, self._folder)
        self._frames = Frames()
        self._outbox: list[tuple[Any, ...]] = []
        self._waiting: dict[str | int, asyncio.Future[Any]] = {}
        self._num_calls = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.death = ""
        """What the engine died of; "" while it lives."""
        start = {"engine_args": dict(engine_args), "num_tokens": num_tokens, "record_kept_tokens": record_kept_tokens}
        if inherited_folder:
            self._channel.sendall(frame(("inherit", inherited_folder)))
        self._channel.sendall(frame({"kind": kind, **start}))
        self.facts: dict[str, Any] = {}
        """Of the engine: its vLLM's version, kind, data type, longest context, width of the vocabulary."""

    def _child_environment(self, given: Mapping[str, Any]) -> dict[str, str]:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        own = {"TMPDIR": self._folder, "VLLM_RPC_BASE_PATH": self._folder, "PYTHONPATH": path}
        inherited = {name: value for name, value in os.environ.items() if not _OF_LAUNCHERS.fullmatch(name)}
        texts = {name: str(value) for name, value in given.items()}  # a run file may have numbers
        return {**_ENVIRONMENT, **inherited, **own, **texts}

    def wait_until_ready(self) -> None:
        """Block until the engine has loaded its model.

        Raises:
            SamplerError: it did not.
            EngineDied: its process was ended from outside, so that another try may do.
        """
        for message in self._receive_blocking():
            match message:
                case "ready", facts:
                    self.facts = facts
                    self._channel.settimeout(None)
                    return
                case "died", text:
                    tail = self._tail()
                    self.close()
                    raise SamplerError(f"vLLM did not start. {text}{tail}")
        tail = self._tail()
        self.close()
        status = self._process.returncode
        is_killed = status is not None and status < 0
        raise (EngineDied if is_killed else SamplerError)(
            f"vLLM's process ended with status {status} while it started.{tail}"
        )

    def _receive_blocking(self) -> Iterator[tuple[Any, ...]]:
        self._channel.settimeout(self._start_timeout_s)
        try:
            while data := self._channel.recv(_MAX_BYTES):
                for messages in self._frames.feed(data):
                    yield from messages
        except ConnectionResetError:
            return
        except TimeoutError as error:
            tail = self._tail()
            self.close()
            raise SamplerError(
                f"vLLM did not start within {self._start_timeout_s:g} seconds. If the model is large or comes from "
                f"afar, raise start_timeout_s.{tail}"
            ) from error

    # -- what an engine does -----------------------------------------------------------------------------------

    async def generate(
        self,
        request_id: str,
        prompt_ids: list[int],
        params: SamplingParams,
        *,
        seed: int,
        adapter: Adapter | None = None,
    ) -> Generated:
        """Continue `prompt_ids`. A cancelled call aborts the request."""
        answer = self._ask(request_id, ("generate", request_id, prompt_ids, params, seed, adapter))
        try:
            generated: Generated = await answer
            return generated
        except asyncio.CancelledError:
            if self._waiting.pop(request_id, None) is not None and not self.death:
                self._send(("abort", request_id))
            raise

    async def pause(self) -> None:
        """Freeze running requests where they are; new ones wait."""
        await self._call("pause")

    async def resume(self) -> None:
        """Go on after `pause`."""
        await self._call("resume")

    async def init_weight_transfer(self, init_info: Mapping[str, Any]) -> None:
        """Set the weight-transfer engine up, once."""
        await self.collective_rpc("init_weight_transfer_engine", init_info=dict(init_info))

    async def start_weight_update(self) -> None:
        """The first of the calls of an update."""
        await self.collective_rpc("start_weight_update")

    async def update_weights(self, update_info: Mapping[str, Any]) -> None:
        """Some of the weights, or all."""
        await self.collective_rpc("update_weights", update_info=dict(update_info))

    async def finish_weight_update(self, version: int) -> None:
        """All weights are there; later tokens carry `version`."""
        await self.collective_rpc("finish_weight_update")
        await self.set_weight_version(version)

    async def set_weight_version(self, version: int) -> None:
        """Later tokens carry `version`; the weights stay."""
        await self._call("set_weight_version", str(version))

    async def reset_prefix_cache(self) -> None:
        """Forget all cached keys and values, those of running requests too."""
        if not await self._call("reset_prefix_cache"):
            raise SamplerError("vLLM did not empty its prefix cache, so that it would answer with the old policy.")

    async def add_adapter(self, adapter: Adapter) -> None:
        """Load an adapter, in place of the one under its number if there is one."""
        if not await self._call("add_adapter", adapter):
            raise SamplerError(f"vLLM did not load the adapter in {adapter.path!r}.")

    async def collective_rpc(self, method: str, **kwargs: Any) -> list[Any]:
        """Call a method of vLLM's worker by name; the answers of all workers."""
        answers: list[Any] = await self._call("collective_rpc", method, kwargs)
        return answers

    async def num_unfinished(self) -> int:
        """Requests that run or wait in the engine."""
        number: int = await self._call("num_unfinished")
        return number

    async def sleep(self) -> None:
        """Give the accelerator's memory back; the caller has paused the engine."""
        await self._call("sleep")

    async def wake(self, tags: tuple[str, ...] | None = None) -> None:
        """Take the memory again."""
        await self._call("wake", None if tags is None else list(tags))

    @property
    def pid(self) -> int:
        """Of the process that hosts the engine."""
        return self._process.pid

    def pids(self) -> list[int]:
        """Of all processes of the engine."""
        return members(self._process.pid)

    def close(self) -> None:
        """End all processes of the engine and remove their files. Calling it twice is harmless."""
        self._stop_listening()
        self._lose_all("The sampler was closed.")
        self._finalizer()

    # -- the channel -------------------------------------------------------------------------------------------

    async def _call(self, name: str, *args: Any) -> Any:
        frame(args)  # what cannot be sent fails here, and not in the event loop
        self._num_calls += 1
        number = self._num_calls
        try:
            return await self._ask(number, ("call", number, name, *args))
        finally:
            self._waiting.pop(number, None)

    def _ask(self, key: str | int, message: tuple[Any, ...]) -> asyncio.Future[Any]:
        if self.death:
            raise EngineDied(self.death)
        self._listen()
        future = self._waiting[key] = asyncio.get_running_loop().create_future()
        self._send(message)
        if self._next_look is None:
            self._look_later()
        return future

    def _look_later(self) -> None:
        self._next_look = asyncio.get_running_loop().call_later(self._silence_timeout_s / _NUM_LOOKS, self._look)

    def _look(self) -> None:
        """Ask for a sign of life while something is waited for. Looks are counted, as this process may sleep itself."""
        self._next_look = None
        if not self._waiting:
            self._num_silent_looks = 0
        elif self._num_silent_looks == _NUM_LOOKS:
            self._lose(f"it said nothing for {self._silence_timeout_s:g} seconds, though it was asked")
        else:
            self._num_silent_looks += 1
            self._send(("call", _SIGN_OF_LIFE, "ping"))
            self._look_later()

    def _send(self, message: tuple[Any, ...]) -> None:
        """Send a message, together with all others of this turn of the event loop."""
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox.append(message)

    def _flush(self) -> None:
        messages, self._outbox = self._outbox, []
        if not self.death:
            try:
                self._channel.sendall(frame(messages))
            except OSError:
                self._lose()

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None and self._loop.is_running() and self._waiting:
            raise SamplerError("Another event loop is using this sampler. Use it from one loop at a time.")
        self._stop_listening()
        loop.add_reader(self._channel, self._receive)
        self._loop = loop
        left, self._waiting, unsent, self._outbox = self._waiting, {}, self._outbox, []
        for message in [*unsent, *(("abort", key) for key in left if isinstance(key, str))]:
            self._send(message)  # whoever waited in the last loop is gone with it

    def _stop_listening(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._channel)
        if self._next_look is not None:
            self._next_look.cancel()
        self._loop = self._next_look = None
        self._num_silent_looks = 0

    def _receive(self) -> None:
        try:
            data = self._channel.recv(_MAX_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        self._num_silent_looks = 0
        for messages in self._frames.feed(data):
            for message in messages:
                self._take(message)

    def _take(self, message: tuple[Any, ...]) -> None:
        match message:
            case (("generated" | "returned"), key, value):
                future = self._waiting.pop(key, None)
                if future is not None and not future.done():
                    future.set_result(value)
            case (("failed" | "raised"), key, text):
                future = self._waiting.pop(key, None)
                if future is not None and not future.done():
                    future.set_exception(SamplerError(f"vLLM refused: {text}"))
            case "died", text:
                self._lose(text)

    def _lose(self, text: str = "") -> None:
        """The engine is gone: end what is left of it, and tell all who wait."""
        self._stop_listening()
        _kill(self._process)
        reason = text or f"its process ended with status {self._process.returncode}"
        self._lose_all(f"vLLM's engine died: {reason}.{self._tail()}")

    def _lose_all(self, death: str) -> None:
        self.death = self.death or death
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done() and not future.get_loop().is_closed():
                future.set_exception(EngineDied(self.death))

    def _tail(self) -> str:
        """The end of what the engine's processes wrote."""
        with suppress(OSError):
            lines = self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
            if lines:
                return "\nThe end of its log:\n" + "\n".join(f"    {line}" for line in lines)
        return ""


def _new_folder() -> str:
    """For the temporary files of vLLM's processes; sockets are among them, whose paths have 107 characters at most."""
    is_long = len(tempfile.gettempdir()) > _LONGEST_FOLDER and os.path.isdir("/tmp")
    return tempfile.mkdtemp(prefix="llmgym-vllm-", dir="/tmp" if is_long else None)


def _end(owner: int, process: "subprocess.Popen[bytes]", channel: socket.socket, folder: str) -> None:
    """Leave nothing of the engine. At the end of the channel the process ends itself and what it started."""
    if os.getpid() != owner:  # a fork that ends
        return
    with suppress(OSError):
        channel.send(frame(("farewell",)), socket.MSG_DONTWAIT)
    channel.close()
    if process.returncode is None:  # else its group is gone, too, and the number may be another's by now
        with suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_END)
        _kill(process)
    shutil.rmtree(folder, ignore_errors=True)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its group. One that hangs in a driver ends when that lets it; nobody waits for it."""
    kill_group(process.pid)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_SECONDS_TO_END)
