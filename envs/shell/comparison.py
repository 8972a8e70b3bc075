"""Whether files are as they should be, and the first thing that is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .tree import Archive, Entry, File, Folder, Json, Link, Tree, with_folders

Unpack = Callable[[bytes], Mapping[str, bytes] | None]
"""The files in an archive, or None where it cannot be read."""
_EXECUTABLE, _OPEN_TO_OWNER = 0o100, 0o700


def difference(expected: Tree, actual: Tree, unpack: Unpack, *, exact_modes: bool = False) -> str | None:
    """The first way in which a tree is not the expected one, in words; None where there is none.

    Args:
        expected: folders above its entries need not be listed.
        actual: as `dump` gave it.
        unpack: reads archives.
        exact_modes: compare all permissions. Else only whether the owner may execute a file and work in a folder.
    """
    expected = with_folders(expected)
    for path in sorted(expected.keys() | actual.keys()):
        if path not in actual:
            problem: str | None = "is missing"
        elif path not in expected:
            problem = "should not be there"
        else:
            problem = _entry_difference(expected[path], actual[path], unpack, exact_modes)
        if problem:
            shown = path.encode("utf-8", "backslashreplace").decode()  # a policy's names may be any bytes
            return f"{shown} {problem}"
    return None


def _entry_difference(expected: Entry, actual: Entry, unpack: Unpack, exact_modes: bool) -> str | None:
    if isinstance(expected, Link):
        return None if actual == expected else f"is no link to {expected.target}"
    if isinstance(expected, Folder):
        if not isinstance(actual, Folder):
            return "is no folder"
        mask = 0o7777 if exact_modes else _OPEN_TO_OWNER
        return None if actual.mode & mask == expected.mode & mask else "has other permissions"
    if not isinstance(actual, File):
        return "is no file that can be read"
    mode = expected.mode if isinstance(expected, File) else 0o644
    mask = 0o7777 if exact_modes else _EXECUTABLE
    if actual.mode & mask != mode & mask:
        return "has other permissions"
    return None if _is_content_right(expected, actual.data, unpack) else "has another content"


def _is_content_right(expected: Entry, data: bytes, unpack: Unpack) -> bool:
    if isinstance(expected, Archive):
        return unpack(data) == dict(expected.members)
    if isinstance(expected, Json):
        return _is_json_right(expected, data)
    assert isinstance(expected, File)
    return data == expected.data


def _is_json_right(expected: Json, data: bytes) -> bool:
    try:
        text = data.decode()
        value = [json.loads(line) for line in text.strip().split("\n")] if expected.is_lines else json.loads(text)
        return _canonical(value) == _canonical(expected.value)
    except (ValueError, RecursionError):
        return False


def _canonical(value: Any) -> str:
    """As text: so 1, 1.0 and true are three values."""
    return json.dumps(value, sort_keys=True)
