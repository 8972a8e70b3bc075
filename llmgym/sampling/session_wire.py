"""A socket between whoever plays episodes and a sampler host: a call costs a fraction of one through Ray.

Frames are pickled. Nothing is unpickled before the client has sent the host's secret, which it got through Ray.
"""

import asyncio
import hmac
import pickle
import secrets
import struct
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

from ..errors import SamplerError
from .ray_cluster import ActorLost, Member

_HEADER = struct.Struct(">Q")
"""Bytes of the frame that follows."""
_SECRET_BYTES = 32
_CONNECT_TIMEOUT_S = 5.0
_CAUSE_TIMEOUT_S = 10.0
"""Ray knows why a host is gone, a little later than its connection is closed."""

Address = tuple[str, int, bytes]
"""Host name, port and secret."""


class WireServer:
    """Answers calls of some methods.

    Args:
        methods: by name.
    """

    def __init__(self, methods: Mapping[str, Callable[..., Awaitable[Any]]]) -> None:
        self._methods, self._secret = methods, secrets.token_bytes(_SECRET_BYTES)
        self._answering: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, host_name: str) -> Address:
        """Listen at a free port."""
        self._server = await asyncio.start_server(self._serve, host_name, 0)
        return host_name, self._server.sockets[0].getsockname()[1], self._secret

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not hmac.compare_digest(await reader.readexactly(_SECRET_BYTES), self._secret):
                return
            while True:
                number, method, args = pickle.loads(await _frame(reader))
                task = asyncio.ensure_future(self._answer(writer, number, method, args))
                self._answering.add(task)  # or nobody would hold it
                task.add_done_callback(self._answering.discard)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, number: int | None, method: str, args: Any) -> None:
        try:
            answer = (number, True, await self._methods[method](*args))
        except Exception as error:  # the client hears of it, whatever it is
            answer = (number, False, error)
        if number is None or writer.is_closing():
            return
        try:
            data = pickle.dumps(answer)
            if not answer[1]:
                pickle.loads(data)
        except Exception as error:  # exceptions of others may hold anything, and ask for anything to be made
            data = pickle.dumps((number, False, SamplerError(f"{answer[2]!r}, which cannot be sent: {error!r}")))
        writer.write(_HEADER.pack(len(data)) + data)


class Wire:
    """A sampler host at the other end of a socket, as `remote_session.RemoteHost` has it."""

    def __init__(self, member: Member, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name, self._writer = member.name, writer
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._loss = ""
        # A node that loses its power closes no socket, but Ray comes to know of it.
        self._watching = asyncio.ensure_future(self._watch(member))
        self._reading = asyncio.ensure_future(self._read(reader))

    @classmethod
    async def to(cls, member: Member) -> "Wire | Member":
        """A wire to a host; the actor itself, whose calls go through Ray, where no connection can be made.

        Raises:
            ActorLost: it is gone.
        """
        host_name, port, secret = await member.call("address")
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(host_name, port)
        except OSError:  # which a timeout is, too: a firewall, perhaps
            return member
        writer.write(secret)
        return cls(member, reader, writer)

    async def call(self, method: str, *args: Any) -> Any:
        """What the host's method answers.

        Raises:
            ActorLost: it is gone.
            Exception: whatever the method raised.
        """
        if self._loss:
            raise ActorLost(self._loss)
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send((number, method, args))
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def cast(self, method: str, *args: Any) -> None:
        """Have the host's method run."""
        self._send((None, method, args))

    def close(self, loss: str = "") -> None:
        """Whoever still waits for an answer hears that there will be none."""
        self._loss = self._loss or loss or f"The {self._name} was lost: its connection is closed."
        self._writer.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ActorLost(self._loss))
        for task in (self._reading, self._watching):
            task.cancel()

    def _send(self, message: Any) -> None:
        data = pickle.dumps(message)
        if not self._writer.is_closing():
            self._writer.write(_HEADER.pack(len(data)) + data)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                number, is_answer, value = pickle.loads(await _frame(reader))
                answer = self._waiting.get(number)
                if answer is None or answer.done():
                    continue
                if is_answer:
                    answer.set_result(value)
                else:
                    answer.set_exception(value)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._writer.close()
            await asyncio.wait([self._watching], timeout=_CAUSE_TIMEOUT_S)  # which closes it all, and says why
            self.close()

    async def _watch(self, member: Member) -> None:
        try:
            await member.call("forever")
        except SamplerError as loss:
            self.close(str(loss))


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    return await reader.readexactly(length)
