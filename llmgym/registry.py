"""Names of agents, samplers, sandboxes and trackers, each an entry-point string that is imported on first use.

Environments are not here: Gymnasium's registry is their only one.
"""

import difflib
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from .errors import (
    RegistrationError,
    UnknownAgentError,
    UnknownNameError,
    UnknownSamplerError,
    UnknownSandboxError,
    UnknownTrackerError,
)
from .extras import required_by


def load_object(path: str) -> Any:
    """Import what "package.module:Name" names.

    Raises:
        RegistrationError: `path` has another form, or there is no such module or no such name in it.
        MissingExtraError: the module needs an optional package that is not installed.
    """
    module_name, colon, name = path.partition(":")
    if not colon or not name or not all(part.isidentifier() for part in module_name.split(".")):
        raise RegistrationError(f'{path!r} is not an entry point. Write it as "package.module:Name".')
    try:
        with required_by(path):
            module = import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, but something that it imports is not
        raise RegistrationError(f"There is no module {error.name!r}, which {path!r} asks for.") from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise RegistrationError(f"Module {module_name!r} has no {name!r}, which {path!r} asks for.") from error


def closest(name: str, known: Iterable[str]) -> str:
    """A sentence that helps who asked for `name`: the nearest known name, or all of them."""
    close = difflib.get_close_matches(name, known := sorted(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(map(repr, known)) or 'none'}."


class Registry:
    """Names of one kind of plug-in; entry points of installed packages are found on first use.

    An entry is "package.module:Name" or the object itself.
    """

    def __init__(self, kind: str, *, group: str, unknown: type[UnknownNameError]) -> None:
        self.kind, self.group, self._unknown = kind, group, unknown
        self._entries: dict[str, Any] | None = None

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
        entry = self.entry(name)
        return load_object(entry) if isinstance(entry, str) else entry

    def entry(self, name: str) -> Any:
        """What is registered as `name`, as it was registered.

        Raises:
            UnknownNameError: nothing is; the message names the closest name.
        """
        entries = self._all()
        if name not in entries:
            raise self._unknown(f"No {self.kind} is registered as {name!r}. {closest(name, entries)}")
        return entries[name]

    def names(self) -> tuple[str, ...]:
        """All registered names, sorted."""
        return tuple(sorted(self._all()))

    def _all(self) -> dict[str, Any]:
        if self._entries is None:
            entries: dict[str, Any] = {}
            for point in entry_points(group=self.group):
                if entries.setdefault(point.name, point.value) != point.value:
                    raise RegistrationError(
                        f"Two installed packages announce the {self.kind} {point.name!r}: {entries[point.name]!r} "
                        f"and {point.value!r}. Uninstall one of them."
                    )
            self._entries = entries
        return self._entries


AGENTS = Registry("agent", group="llmgym.agents", unknown=UnknownAgentError)
SAMPLERS = Registry("sampler", group="llmgym.samplers", unknown=UnknownSamplerError)
SANDBOXES = Registry("sandbox", group="llmgym.sandboxes", unknown=UnknownSandboxError)
TRACKERS = Registry("tracker", group="llmgym.trackers", unknown=UnknownTrackerError)
