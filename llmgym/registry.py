"""Names of agents, samplers and sandboxes, each an entry-point string that is imported on first use.

Environments are not here: Gymnasium's registry is their only one.
"""

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from .errors import (
    RegistrationError,
    UnknownAgentError,
    UnknownNameError,
    UnknownSamplerError,
    UnknownSandboxError,
)


def load_object(path: str) -> Any:
    """Import what "package.module:Name" names.

    Raises:
        RegistrationError: `path` has another form, or the module has no such name.
    """
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise RegistrationError(f'{path!r} is not an entry point. Write it as "package.module:Name".')
    try:
        return getattr(import_module(module), name)
    except AttributeError as error:
        raise RegistrationError(f"Module {module!r} has no {name!r}, as {path!r} asks for.") from error


class Registry:
    """Names of one kind of plug-in; entry points of installed packages are found on first use.

    An entry is "package.module:Name" or the object itself.
    """

    def __init__(self, kind: str, *, group: str, unknown: type[UnknownNameError]) -> None:
        self.kind, self.group, self._unknown = kind, group, unknown
        self._entries: dict[str, Any] = {}
        self._has_read_metadata = False

    def register(self, name: str, entry: Any) -> None:
        """Register `entry` under `name`. The same one twice is harmless.

        Raises:
            RegistrationError: another entry has the name.
        """
        taken = self._all().setdefault(name, entry)
        if taken != entry:
            raise RegistrationError(
                f"The {self.kind} name {name!r} already stands for {taken!r}, so it cannot also stand for "
                f"{entry!r}. Choose another name."
            )

    def lookup(self, name: str) -> Any:
        """What is registered as `name`, imported.

        Raises:
            UnknownNameError: nothing is; the message names the closest name.
        """
        entries = self._all()
        if name not in entries:
            close = difflib.get_close_matches(name, entries, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(sorted(entries)) or 'none'}."
            raise self._unknown(f"No {self.kind} is registered as {name!r}. {hint}")
        entry = entries[name]
        return load_object(entry) if isinstance(entry, str) else entry

    def names(self) -> tuple[str, ...]:
        """All registered names, sorted."""
        return tuple(sorted(self._all()))

    def _all(self) -> dict[str, Any]:
        if not self._has_read_metadata:
            self._has_read_metadata = True
            for point in entry_points(group=self.group):
                self._entries.setdefault(point.name, point.value)
        return self._entries


AGENTS = Registry("agent", group="llmgym.agents", unknown=UnknownAgentError)
SAMPLERS = Registry("sampler", group="llmgym.samplers", unknown=UnknownSamplerError)
SANDBOXES = Registry("sandbox", group="llmgym.sandboxes", unknown=UnknownSandboxError)
