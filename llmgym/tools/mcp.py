"""Tools of any server that speaks the Model Context Protocol, over stdin and stdout or streamable HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, overload

import numpy as np

from ..errors import ConfigError, ToolFailure
from ..extras import require
from .tool import Tool, ToolError

_connecting = threading.Lock()


class McpTools(Sequence[Tool]):
    """The tools of a server, to which a connection is made when they are first looked at.

    A tool's error is an answer to the policy. Where the server itself fails, the episode does, and the next one finds
    a new connection. Answers are text; images and sounds are only named.

    Args:
        command: program and arguments of a server over stdin and stdout, which is started.
        url: of a server over streamable HTTP. Either this or `command`.
        env: environment variables for `command`; it inherits no others but PATH, HOME and the like.
        cwd: directory for `command`.
        names: the tools to take; None for all.
        is_stateless: True: no call changes what a later one answers. Then episodes share the connection, calls of a
            turn may run at once, and an environment can be forked in mid-episode. False: every episode gets a
            connection, and so a `command`, of its own.
        timeout_s: of a call.
        connect_timeout_s: for the server to start and to list its tools.

    Raises:
        ConfigError: not exactly one of `command` and `url`; when looked at: the server lacks one of `names`.
        ToolFailure: when looked at: the server cannot be reached.
        MissingExtraError: when looked at: the package mcp is not installed.
    """

    def __init__(
        self,
        command: Sequence[str] = (),
        *,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        names: Sequence[str] | None = None,
        is_stateless: bool = False,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 60.0,
    ) -> None:
        if bool(command) == (url is not None):
            raise ConfigError("A server has either a command or a url; give exactly one of them.")
        self._command, self._url, self._env, self._cwd = tuple(command), url, env, cwd
        self._names, self.is_stateless = names, is_stateless
        self.timeout_s, self._connect_timeout_s = timeout_s, connect_timeout_s
        self._tools: list[Tool] | None = None
        self._connection: _Connection | None = None
        self._was_called = False

    @overload
    def __getitem__(self, index: int) -> Tool: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tool]: ...
    def __getitem__(self, index: int | slice) -> Tool | Sequence[Tool]:
        return self._list()[index]

    def __len__(self) -> int:
        return len(self._list())

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """What the server's tool answers.

        Raises:
            ToolError: the tool says that it is an error.
            ToolFailure: the server failed.
        """
        from mcp import MCPError
        from mcp.types import INVALID_PARAMS

        self._was_called = True
        try:
            connection = self._connect()
            async with asyncio.timeout(self._connect_timeout_s):
                await asyncio.wrap_future(connection.definitions)
            result = await connection.run(lambda: connection.client.call_tool(name, dict(arguments)))
        except MCPError as error:
            if error.code == INVALID_PARAMS:
                raise ToolError(error.message) from error
            raise self._failure(error) from error
        except Exception as error:  # a transport may raise anything: name the boundary
            raise self._failure(error) from error
        if result.is_error:
            raise ToolError(_text_of(result))
        return _text_of(result)

    def begin_episode(self) -> None:
        """Let what earlier episodes did at the server be forgotten."""
        if self._was_called and not self.is_stateless:
            self.close()

    def close(self) -> None:
        """End the connection, and the server where it was started. Calling it twice is harmless."""
        if self._connection is not None:
            self._connection.close()
            self._connection.wait()
        self._connection, self._was_called = None, False

    def __getstate__(self) -> dict[str, Any]:
        if self._was_called and not self.is_stateless:
            raise ConfigError(
                f"What the server {self._place} holds of an episode cannot be copied. Give is_stateless=True if its "
                "tools change nothing."
            )
        return {**self.__dict__, "_connection": None, "_was_called": False}

    @property
    def _place(self) -> str:
        return self._url or " ".join(self._command)

    def _list(self) -> list[Tool]:
        if self._tools is None:
            connection = self._connect()
            try:
                definitions = connection.definitions.result(self._connect_timeout_s)
            except Exception as error:  # a transport may raise anything: name the boundary
                raise self._failure(error) from error
            offered = {definition.name: definition for definition in definitions}
            names = list(offered) if self._names is None else self._names
            if missing := [name for name in names if name not in offered]:
                raise ConfigError(f"{self._place} has no tool {missing[0]!r}; it has {', '.join(offered) or 'none'}.")
            self._tools = [_McpTool(self, offered[name]) for name in names]
        return self._tools

    def _connect(self) -> _Connection:
        with _connecting:  # two threads that ask at once make one connection
            if self._connection is None:
                mcp = require("mcp", extra="mcp", purpose="A tool server")
                target = self._url or mcp.StdioServerParameters(
                    command=self._command[0], args=list(self._command[1:]), env=self._env, cwd=self._cwd
                )
                self._connection = _Connection(mcp.Client(target))
            return self._connection

    def _failure(self, error: Exception) -> ToolFailure:
        if self._connection is not None:
            self._connection.close()  # without waiting: an event loop may be waiting for this
        self._connection, self._was_called = None, False
        return ToolFailure(f"The tool server {self._place} failed: {str(error) or type(error).__name__}.")


class _McpTool(Tool):
    """One tool of a server."""

    def __init__(self, server: McpTools, definition: Any) -> None:
        self._server = server
        self.name, self.description = definition.name, definition.description or ""
        self.parameters = definition.input_schema
        self.timeout_s, self.is_concurrent = server.timeout_s, server.is_stateless

    @property
    def has_state(self) -> bool:
        return not self._server.is_stateless

    def begin(self, rng: np.random.Generator) -> Tool:  # noqa: ARG002
        self._server.begin_episode()
        return self

    def close(self) -> None:
        self._server.close()

    async def run(self, **arguments: Any) -> str:
        return await self._server.call(self.name, arguments)


class _Connection:
    """A client in a thread with an event loop of its own, for episodes on any loop, or none, to ask."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.definitions: Future[list[Any]] = Future()
        """Of the tools; an error where the connection cannot be made."""
        self.definitions.set_running_or_notify_cancel()  # whoever stops waiting just does
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._hold())
        self._thread = threading.Thread(target=self._work, name="llmgym-mcp", daemon=True)
        self._thread.start()

    async def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """What `call` gives, awaited on the connection's loop."""

        async def answer() -> Any:
            return await call()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer(), self._loop))

    def close(self) -> None:
        """Begin to end it."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._task.cancel)

    def wait(self) -> None:
        """Until it has ended, and its server with it."""
        self._thread.join(timeout=30)

    async def _hold(self) -> None:
        async with self.client:
            definitions, page = [], None
            while page is None or page.next_cursor:
                page = await self.client.list_tools(**({"cursor": page.next_cursor} if page else {}))
                definitions += page.tools
            self.definitions.set_result(definitions)
            await asyncio.Event().wait()  # until it is cancelled

    def _work(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(_until_done(self._task))
        finally:
            if not self.definitions.done():
                error = None if self._task.cancelled() else self._task.exception()
                self.definitions.set_exception(error or ConnectionError("the connection was closed"))


async def _until_done(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])


def _text_of(result: Any) -> str:
    texts = [_text_of_block(block) for block in result.content]
    if not texts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(texts)


def _text_of_block(block: Any) -> str:
    if block.type == "resource":
        block = block.resource
    text = getattr(block, "text", None)
    name = getattr(block, "mime_type", None) or getattr(block, "uri", None) or getattr(block, "type", "data")
    return text if isinstance(text, str) else f"[{name}]"
