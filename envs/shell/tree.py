"""A tree of files: as a generator describes it, and as a fresh process of a sandbox lays it down and reports it.

What the policy left is only ever looked at in the sandbox, by our programs and without following a link; what comes
back are names and bytes, and they are compared here.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from llmgym.errors import SandboxError
from llmgym.execution import Limits, Request, Session, Status

SCRATCH = "scratch"
"""A folder of this name at the top is the policy's own."""
MODIFIED_S = 1_704_100_000
"""When files of a task were last changed, if nothing else is said: so what `ls -l` prints is always the same."""
_MAX_BYTES, _MAX_ENTRIES = 1 << 20, 2000
_LIMITS = Limits(wall_s=20, cpu_s=20, output_bytes=1 << 24, max_output_bytes=1 << 24)


@dataclass(frozen=True)
class File:
    """A regular file."""

    data: bytes
    mode: int = 0o644
    modified_s: int = MODIFIED_S
    """Seconds since 1970."""


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Folder:
    """A folder; those above a file need not be listed."""

    mode: int = 0o755


@dataclass(frozen=True)
class Archive:
    """An expected tar.gz file: whatever else is in its bytes, these are its files, by path."""

    members: Mapping[str, bytes]


@dataclass(frozen=True)
class Json:
    """An expected JSON file, or one JSON value a line, however it is spaced and whatever the order of keys."""

    value: Any
    is_lines: bool = False


@dataclass(frozen=True)
class Other:
    """Something that no task asks for: a pipe, a device, or what cannot be read."""


Entry = File | Link | Folder | Archive | Json | Other
Tree = Mapping[str, Entry]
"""What is at each path, relative to the top."""


def with_folders(tree: Tree) -> dict[str, Entry]:
    """The tree with the folders above its entries."""
    folders = {str(folder) for path in tree for folder in PurePosixPath(path).parents} - {"."}
    return {**{folder: Folder() for folder in sorted(folders)}, **tree}


def packed(members: Mapping[str, bytes]) -> File:
    """A tar.gz file, the same bytes every time."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for path, data in members.items():
            info = tarfile.TarInfo(path)
            info.size, info.mtime, info.mode = len(data), MODIFIED_S, 0o644
            archive.addfile(info, io.BytesIO(data))
    return File(gzip.compress(plain.getvalue(), mtime=0))


# Programs of the sandbox. The first line takes the working directory, where the policy may have put modules, off the
# path of imports.

_LAY = """
import sys; sys.path.pop(0)
import json, os
entries = json.load(sys.stdin)
for path, kind, mode, modified, text in entries:
    if kind == "folder":
        os.makedirs(path, exist_ok=True)
    elif kind == "link":
        os.symlink(text, path)
    else:
        with open(path, "wb") as file:
            file.write(text.encode("latin-1"))
        os.chmod(path, mode)
        os.utime(path, (modified, modified))
for path, kind, mode, modified, _ in reversed(entries):
    if kind == "folder":
        os.chmod(path, mode)
        os.utime(path, (modified, modified))
os.utime(".", (MODIFIED_S, MODIFIED_S))
"""

_DUMP = """
import sys; sys.path.pop(0)
import json, os, stat
room, found, folders = MAX_BYTES, [], [""]
while folders and room >= 0 and len(found) <= MAX_ENTRIES:
    above = folders.pop()
    try:
        entries = os.scandir(above or ".")
    except OSError:
        found.append([above.rstrip("/") or ".", "other", 0, ""])
        continue
    for entry in entries:
        path, kind, mode, text = above + entry.name, "other", 0, ""
        if path == SCRATCH:
            continue
        try:
            status = entry.stat(follow_symlinks=False)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISDIR(status.st_mode):
                kind = "folder"
                folders.append(path + "/")
            elif stat.S_ISLNK(status.st_mode):
                text = os.readlink(path)
                kind = "link"
            elif stat.S_ISREG(status.st_mode):
                room -= status.st_size
                if room >= 0:
                    with open(path, "rb") as file:
                        text = file.read().decode("latin-1")
                    kind = "file"
        except OSError:  # it may not be read, or its path is too long
            pass
        room -= len(path)
        found.append([path, kind, mode, text])
        if room < 0 or len(found) > MAX_ENTRIES:
            break
print(json.dumps(None if room < 0 or len(found) > MAX_ENTRIES else found))
"""

_UNPACK = """
import sys; sys.path.pop(0)
import json, tarfile
room, found = MAX_BYTES, {}
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|gz") as archive:
    for member in archive:
        room -= member.size + len(member.name) + 100
        if room < 0 or not (member.isreg() or member.isdir()):
            sys.exit("too large, or more than files")
        if member.isreg():
            found[member.name] = archive.extractfile(member).read().decode("latin-1")
print(json.dumps(found))
"""

_CHANGES_MODES = """
import os
with open("probe", "w"): os.chmod("probe", 0o741)
os.utime("probe", (1, 1))
status = os.stat("probe")
os.unlink("probe")
print(status.st_mode & 0o777 == 0o741 and status.st_mtime == 1)
"""

CAN_CHANGE_MODES = Request(source=_CHANGES_MODES)
"""Prints "True" where modes and times of files can be changed: some sandboxes ignore that."""


def _program(source: str) -> str:
    constants = {"MAX_BYTES": _MAX_BYTES, "MAX_ENTRIES": _MAX_ENTRIES, "SCRATCH": SCRATCH, "MODIFIED_S": MODIFIED_S}
    for name, value in constants.items():
        source = source.replace(name, repr(value))
    return source


def lay(session: Session, tree: Tree) -> None:
    """Lay a tree into the empty working directory of a sandbox.

    Raises:
        SandboxError: it cannot be done.
    """
    rows = [_row(path, entry) for path, entry in with_folders(tree).items()]
    outcome = session.run(Request(source=_program(_LAY), stdin=json.dumps(rows).encode(), limits=_LIMITS))
    if outcome.status is not Status.OK:
        raise SandboxError(f"The files of a task could not be laid down: {outcome.stderr.text.strip()[-300:]}")


def dump(session: Session) -> dict[str, Entry] | None:
    """What is in the working directory now, as a fresh process sees it; None where that is absurdly much.

    Raises:
        SandboxError: it cannot be seen.
    """
    outcome = session.run(Request(source=_program(_DUMP), limits=_LIMITS))
    if outcome.status is not Status.OK:
        raise SandboxError(f"What a policy left could not be read: {outcome.status}: {outcome.stderr.text[-300:]}")
    rows = json.loads(outcome.stdout.data)
    return None if rows is None else {path: _entry(*row) for path, *row in rows}


def unpack(session: Session, data: bytes) -> dict[str, bytes] | None:
    """The files of a tar.gz file, by path; None where it is none, or holds anything else.

    It is read in the sandbox: what reads archives has been fooled before.
    """
    outcome = session.run(Request(source=_program(_UNPACK), stdin=data, limits=_LIMITS))
    if outcome.status is not Status.OK:
        return None
    members = json.loads(outcome.stdout.data)
    return {str(PurePosixPath(path)): text.encode("latin-1") for path, text in members.items()}


def _row(path: str, entry: Entry) -> tuple[str, str, int, int, str]:
    if isinstance(entry, File):
        return path, "file", entry.mode, entry.modified_s, entry.data.decode("latin-1")
    if isinstance(entry, Link):
        return path, "link", 0, 0, entry.target
    assert isinstance(entry, Folder), f"{entry} is only ever expected"
    return path, "folder", entry.mode, MODIFIED_S, ""


def _entry(kind: str, mode: int, text: str) -> Entry:
    if kind == "file":
        return File(text.encode("latin-1"), mode)
    return Link(text) if kind == "link" else Folder(mode) if kind == "folder" else Other()
