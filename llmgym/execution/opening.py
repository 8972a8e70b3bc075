"""Choosing a sandbox: by name, or the strongest that works on this machine."""

from __future__ import annotations

import logging
from typing import Any

from ..errors import ConfigError, MissingExtraError, SandboxError
from ..registry import SANDBOXES
from .backend import Backend
from .contract import Request, Status
from .limits import Limits
from .sandbox import Sandbox

_log = logging.getLogger(__name__)

_PROBE = Request(source="print(6 * 7)", limits=Limits(wall_s=20))


def open_sandbox(
    level: str = "auto",
    *,
    num_workers: int | None = None,
    allow_unsafe: bool = False,
    **options: Any,
) -> Sandbox:
    """A sandbox of the given level, after a program ran in it.

    Args:
        level: "bwrap", "landlock", "docker", "process", the name of a plug-in, or "auto": the strongest that works
            here. docs/sandboxes.md says what each stops and what it does not.
        num_workers: programs that run at one time; by default the number of CPUs.
        allow_unsafe: must be True for a level that does not hold hostile code, and lets "auto" fall back on one.
        options: the backend's own, such as `python=` (the interpreter inside) or `image=` of "docker".

    Raises:
        SandboxError: the level is not to be had on this machine; the message says how to get it.
        UnknownSandboxError: no such level is registered.
        ConfigError: an unsafe level without `allow_unsafe=True`, or an unknown option.
    """
    if level != "auto":
        return _open(level, num_workers, allow_unsafe, options, {})
    kinds = {name: SANDBOXES.lookup(name) for name in SANDBOXES.names()}
    candidates = {name: kind for name, kind in kinds.items() if kind.strength > 0}
    refused: dict[str, str] = {}
    for name in sorted(candidates, key=lambda name: -candidates[name].strength):
        try:
            return _open(name, num_workers, allow_unsafe, options, refused)
        except (SandboxError, ConfigError, MissingExtraError) as error:
            refused[name] = str(error)
    if allow_unsafe:
        return _open("process", num_workers, allow_unsafe, {}, refused)
    reasons = "\n".join(f"  {name}: {reason}" for name, reason in refused.items())
    raise SandboxError(
        f"No sandbox that holds hostile code works on this machine:\n{reasons}\n"
        'Mend one of these, use open_sandbox("docker"), or, for programs that you trust, '
        'open_sandbox("process", allow_unsafe=True).'
    )


def _open(
    level: str, num_workers: int | None, allow_unsafe: bool, options: dict[str, Any], refused: dict[str, str]
) -> Sandbox:
    kind: type[Backend] = SANDBOXES.lookup(level)
    if kind.is_unsafe and not allow_unsafe:
        raise ConfigError(
            f"The sandbox {level!r} does not hold hostile code: it can write your files and use your network. "
            'Use open_sandbox("auto"), or pass allow_unsafe=True for programs that you trust.'
        )
    try:
        backend = kind(**options)
    except TypeError as error:
        raise ConfigError(f"The sandbox {level!r} does not know an option: {error}.") from error
    sandbox = Sandbox(backend, num_workers=num_workers, info={"refused": dict(refused)})
    try:
        _probe(sandbox)
    except BaseException:
        sandbox.close()
        raise
    _log.info("sandbox %r%s", level, "".join(f"; {name} refused: {why}" for name, why in refused.items()))
    return sandbox


def _probe(sandbox: Sandbox) -> None:
    outcome = sandbox.run(_PROBE)
    if outcome.status is not Status.OK or outcome.stdout.data != b"42\n":
        raise SandboxError(
            f"A sandbox {sandbox.level!r} starts, but a trivial program ended with status {outcome.status}: "
            f"{outcome.stderr.text.strip()[-500:]}"
        )
