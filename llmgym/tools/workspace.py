"""Python and a shell for the policy, in a sandbox."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..execution import Limits, Outcome, Sandbox, Session, Status, shared_sandbox
from .tool import Tool

_ENDINGS: Mapping[Status, str] = {
    Status.OK: "",
    Status.FAILED: "[exit code {exit_code}]",
    Status.CRASHED: "[ended by signal {signal}]",
    Status.TIMEOUT: "[stopped: it used up its time]",
    Status.MEMORY: "[stopped: it used up its memory]",
    Status.OUTPUT: "[stopped: it wrote too much]",
}


class Workspace:
    """A directory in a sandbox, where the tools of one episode work together.

    It is opened on first use, and every episode finds a new one. `session` also serves to look at what the policy did.

    Args:
        files: laid down when it is opened, by relative path. May be set anew for each task.
        sandbox: "auto", the strongest level that works here, or the name of one; see `open_sandbox`.
        limits: of each command and cell.
        allow_unsafe: must be True for a level that does not hold hostile code.
    """

    def __init__(
        self,
        files: Mapping[str, bytes] | None = None,
        *,
        sandbox: str = "auto",
        limits: Limits | None = None,
        allow_unsafe: bool = False,
    ) -> None:
        self.files: Mapping[str, bytes] = files or {}
        self.limits = limits or Limits()
        self._sandbox, self._allow_unsafe = sandbox, allow_unsafe
        self._session: Session | None = None
        self._num_closed = 0

    @property
    def session(self) -> Session:
        """The sandbox of this episode.

        Raises:
            SandboxError: it cannot be opened.
        """
        if self._session is None:
            num_closed = self._num_closed
            session = self.require_sandbox().session(limits=self.limits)
            try:
                self.fill(session)
            except BaseException:  # nobody works in one that is half full
                session.close()
                raise
            self._session = session
            if self._num_closed > num_closed:  # by another thread, which could not see this session yet
                session.close()
        return self._session

    @property
    def is_open(self) -> bool:
        """False where this episode did nothing in its sandbox yet."""
        return self._session is not None

    def require_sandbox(self) -> Sandbox:
        """What sessions are opened in. Asked for before any episode, it says in time what is missing here.

        Raises:
            SandboxError, UnknownSandboxError, ConfigError: see `open_sandbox`.
        """
        return shared_sandbox(self._sandbox, allow_unsafe=self._allow_unsafe)

    def fill(self, session: Session) -> None:
        """Lay down what every episode finds. A subclass may lay more than files.

        Raises:
            SandboxError: it cannot be done.
        """
        if self.files:
            session.write_files(self.files)

    def close(self) -> None:
        """End it, with all that is in it; the next use opens a new one. Calling it twice is harmless."""
        self._num_closed += 1
        if self._session is not None:
            self._session.close()
            self._session = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Workspace:
        memo[id(self)] = copied = copy.copy(self)
        copied._session = None if self._session is None else self._session.fork()
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}


class _WorkspaceTool(Tool):
    """What `Shell` and `Python` have in common."""

    def __init__(self, workspace: Workspace | None = None) -> None:
        self.workspace = workspace or Workspace()
        self.timeout_s = 60 + 10 * self.workspace.limits.wall_s  # the sandbox itself stops what runs; this is for it

    def begin(self, rng: np.random.Generator) -> Tool:  # noqa: ARG002
        self.workspace.close()
        return type(self)(self.workspace)

    def close(self) -> None:
        self.workspace.close()


class Shell(_WorkspaceTool):
    """Runs shell commands; files stay from call to call.

    Args:
        workspace: where; by default one of its own, with nothing in it.
    """

    name = "shell"
    description = "Runs a shell command. Files stay from call to call."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"command": {"type": "string", "description": "For bash."}},
        "required": ["command"],
    }

    def run(self, *, command: str) -> str:
        return _told(self.workspace.session.command, command)


class Python(_WorkspaceTool):
    """Runs Python; names and files stay from call to call.

    Args:
        workspace: where; by default one of its own, with nothing in it.
    """

    name = "python"
    description = (
        "Runs Python and answers with what it printed and the value of a last expression. Names stay from call to call."
    )
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"code": {"type": "string", "description": "The program."}},
        "required": ["code"],
    }

    def run(self, *, code: str) -> str:
        return _told(self.workspace.session.cell, code)


def _told(run: Callable[[str], Outcome], text: str) -> str:
    outcome = run(text)
    ending = _ENDINGS[outcome.status].format(exit_code=outcome.exit_code, signal=outcome.signal)
    parts = [outcome.stdout.text, outcome.stderr.text, ending]
    return "\n".join(part.rstrip("\n") for part in parts if part) or "(no output)"
