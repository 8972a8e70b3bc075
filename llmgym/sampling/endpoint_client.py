"""Asking a server that speaks OpenAI's protocol: few connections, patience with a busy one, errors that quote it."""

import asyncio
import os
import random
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, SamplerError
from ..extras import require

FIRST_WAIT_S = 1.0
"""Before the second attempt; each later wait is twice as long, and a little more by chance."""
MAX_WAIT_S = 60.0
"""However long a server asks to be left alone."""

_BUSY = (408, 425, 429)
_WRONG_PLACE = (401, 403, 404, 405)
_NOT_IMPLEMENTED = 501
_FIRST_FAILURE = 500
_MAX_QUOTED_CHARS = 400
_KEEP_ALIVE_S = 3.0  # shorter than a server's usual 5 s: it must not be the one to hang up


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's final answer to one request, whatever its status."""

    status: int
    data: Any
    """What the body holds as JSON; None where it is no JSON."""
    problem: str
    """Status and what the server says about it, in one line without the key."""

    @property
    def is_fine(self) -> bool:
        """True for an answer in JSON that is no error."""
        return self.status == 200 and self.data is not None


class EndpointClient:
    """Sends requests to one server. All event loops may use it; each has connections of its own.

    Args:
        url: up to and with its version, for example "http://localhost:8000/v1".
        api_key: sent as a bearer token, where given. It is in no error and no `repr`.
        api_key_env: name of the environment variable that holds the key.
        timeout_s: for one attempt.
        retries: further attempts where the server is busy, fails or cannot be reached, after 1, 2, 4, ... seconds, or
            as long as it asks for.
        max_connections: requests under way at once; further ones wait.

    Raises:
        ConfigError: `url` is no such address, the variable is not set, or a number is out of range.
        MissingExtraError: httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str = "",
        api_key_env: str = "",
        timeout_s: float = 60.0,
        retries: int = 3,
        max_connections: int = 256,
    ) -> None:
        if not re.match(r"https?://[^/@]+(/[^@]*)?$", url):
            secret = "with a user or password in it" if "@" in url else repr(url)
            raise ConfigError(
                f'The endpoint is {secret}, but it must be an address like "http://localhost:8000/v1". A key is given '
                "by the name of the environment variable that holds it."
            )
        for name, value, least in (("retries", retries, 0), ("max_connections", max_connections, 1)):
            if value < least:
                raise ConfigError(f"{name} is {value}, but it must be at least {least}.")
        if not timeout_s > 0:
            raise ConfigError(f"timeout_s is {timeout_s}, but it must be above 0.")
        if api_key_env and not (api_key := os.environ.get(api_key_env, "")):
            raise ConfigError(f"The environment variable {api_key_env} is to hold the endpoint's key, but it is empty.")
        self.url = url.rstrip("/")
        self._httpx = require("httpx", extra="endpoint", purpose="Asking an endpoint")
        self._key, self._timeout_s, self._retries, self._max_connections = api_key, timeout_s, retries, max_connections
        self._open: dict[asyncio.AbstractEventLoop, tuple[Any, int]] = {}

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Within, requests of this event loop share their connections; the last to leave closes them."""
        loop = asyncio.get_running_loop()
        connections, num_users = self._open.get(loop) or (self._connections(), 0)
        self._open[loop] = (connections, num_users + 1)
        try:
            yield
        finally:
            connections, num_users = self._open.pop(loop)
            if num_users > 1:
                self._open[loop] = (connections, num_users - 1)
            else:
                await connections.aclose()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that the server answers.

        Raises:
            SamplerError: it gave no answer; the message quotes what it said instead.
        """
        reply = await self.request(path, body)
        if reply.status != 200:
            raise self._no_answer(reply.problem, may_be_ours=reply.status in _WRONG_PLACE)
        if reply.data is None:
            raise SamplerError(
                f"The answer of the endpoint {self.url} is no JSON: {reply.problem}. Check that its address ends in "
                "the version, such as /v1."
            )
        return reply.data

    async def request(self, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """POST `body` as JSON, or GET where there is none; also an error is an answer, unless another attempt may help.

        Raises:
            SamplerError: after all attempts the server is still busy, failing or out of reach.
        """
        async with self.connected():
            connections, _ = self._open[asyncio.get_running_loop()]
            for attempt in range(self._retries + 1):
                wait_s = FIRST_WAIT_S * 2**attempt * random.uniform(1.0, 1.25)
                try:
                    if body is None:
                        answer = await connections.get(self.url + path)
                    else:
                        answer = await connections.post(self.url + path, json=body)
                except self._httpx.TransportError as error:
                    problem = self._quoted(repr(error))
                else:
                    reply = self._reply(answer)
                    may_pass = answer.status_code in _BUSY or answer.status_code >= _FIRST_FAILURE
                    if not may_pass or answer.status_code == _NOT_IMPLEMENTED:
                        return reply
                    problem = reply.problem
                    wait_s = _retry_after_s(answer.headers.get("Retry-After"), wait_s)
                if attempt < self._retries:
                    await asyncio.sleep(min(wait_s, MAX_WAIT_S))
        raise self._no_answer(problem, may_be_ours=True)

    def _connections(self) -> Any:
        return self._httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            # Who waits for a free connection waits for others' answers, which is no failure.
            timeout=self._httpx.Timeout(self._timeout_s, pool=None),
            limits=self._httpx.Limits(
                max_connections=self._max_connections,
                max_keepalive_connections=self._max_connections,
                keepalive_expiry=_KEEP_ALIVE_S,
            ),
        )

    def _reply(self, answer: Any) -> Reply:
        try:
            data = answer.json()
        except ValueError:
            data = None
        said = data
        for name in ("error", "message"):
            said = said.get(name, said) if isinstance(said, dict) else said
        text = said if isinstance(said, str) else answer.text
        return Reply(answer.status_code, data, f"status {answer.status_code}: {self._quoted(text)}")

    def _quoted(self, text: str) -> str:
        """In one line, and without the key, which some servers repeat."""
        text = " ".join(text.split())
        return (text.replace(self._key, "***") if self._key else text)[:_MAX_QUOTED_CHARS]

    def _no_answer(self, problem: str, *, may_be_ours: bool) -> SamplerError:
        mend = " Check its address, key and model name." if may_be_ours else ""
        return SamplerError(f"The endpoint {self.url} gave no answer: {problem.rstrip('.')}.{mend}")


def first_choice(answer: Any, member: str) -> Mapping[str, Any]:
    """The one choice in the answer of a completion, which holds a `member`.

    Raises:
        SamplerError: the answer is no completion.
    """
    try:
        choice: Mapping[str, Any] = answer["choices"][0]
        if choice[member] is not None:
            return choice
    except (LookupError, TypeError):
        pass
    raise SamplerError(
        f"The endpoint's answer is none of a completion with {member!r}: {answer!r:.200}. Check that its address ends "
        "in the version, such as /v1."
    )


def _retry_after_s(header: str | None, otherwise: float) -> float:
    """Seconds that the server asks to wait; some name a date instead, for which the own wait stands in."""
    return float(header) if header is not None and re.fullmatch(r"\d+(\.\d+)?", header) else otherwise
