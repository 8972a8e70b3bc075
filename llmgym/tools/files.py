"""Files of an episode that exist nowhere but in memory."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ConfigError
from .tool import Tool, ToolError

_NEEDS: Mapping[str, tuple[str, ...]] = {
    "list": (),
    "read": ("path",),
    "write": ("path", "text"),
    "replace": ("path", "old", "new"),
}


class Files(Tool):
    """A tree of text files: the policy lists, reads, writes and replaces.

    Nothing of it touches a file system. Every episode begins with the files that were given.

    Args:
        files: text by path, such as "src/main.py".
        is_read_only: True: the policy can only list and read.
        max_files: files that there may be.
        max_file_chars: characters that a file may have.

    Attributes:
        texts: the files as they are now, by path.

    Raises:
        ConfigError: a path of `files` leads out of the tree.
    """

    name = "files"

    def __init__(
        self,
        files: Mapping[str, str] | None = None,
        *,
        is_read_only: bool = False,
        max_files: int = 200,
        max_file_chars: int = 100_000,
    ) -> None:
        try:
            self.texts = {_normal(path): text for path, text in (files or {}).items()}
        except ToolError as error:
            raise ConfigError(f"A file cannot be laid down: {error}. Give it a path inside of them.") from error
        self._initial, self._is_read_only = dict(self.texts), is_read_only
        self._max_files, self._max_file_chars = max_files, max_file_chars
        commands = ["list", "read"] if is_read_only else list(_NEEDS)
        self.description = f"Works with text files: {', '.join(commands)}."
        self.parameters = _parameters(commands)

    def begin(self, rng: np.random.Generator) -> Files:  # noqa: ARG002
        return Files(
            self._initial,
            is_read_only=self._is_read_only,
            max_files=self._max_files,
            max_file_chars=self._max_file_chars,
        )

    def run(self, *, command: str, path: str = ".", **arguments: Any) -> str:
        path = _normal(path)
        given = arguments.keys() | ({"path"} if path != "." else set())
        missing = [name for name in _NEEDS[command] if name not in given]
        if missing:
            raise ToolError(f"{command} needs {', '.join(map(repr, missing))}")
        if command == "list":
            return self._list(path)
        if command == "write":
            return self._write(path, arguments["text"])
        if path not in self.texts:
            raise ToolError(f"{path} is a folder" if self._is_folder(path) else f"there is no file {path}")
        if command == "read":
            return self._read(path, arguments.get("first_line", 1), arguments.get("num_lines"))
        return self._replace(path, arguments["old"], arguments["new"])

    def _list(self, folder: str) -> str:
        if folder in self.texts:
            raise ToolError(f"{folder} is a file")
        if folder != "." and not self._is_folder(folder):
            raise ToolError(f"there is no folder {folder}")
        paths = sorted(path for path in self.texts if folder == "." or path.startswith(f"{folder}/"))
        return "\n".join(f"{path} ({len(self.texts[path])} characters)" for path in paths) or "there are no files"

    def _read(self, path: str, first_line: int, num_lines: int | None) -> str:
        lines = self.texts[path].splitlines(keepends=True)
        if first_line > max(1, len(lines)):
            raise ToolError(f"{path} has {len(lines)} lines")
        stop = len(lines) if num_lines is None else first_line - 1 + num_lines
        return "".join(lines[first_line - 1 : stop])

    def _write(self, path: str, text: str) -> str:
        if self._is_folder(path):
            raise ToolError(f"{path} is a folder")
        above = posixpath.dirname(path)
        while above:
            if above in self.texts:
                raise ToolError(f"{above} is a file, so that nothing can be in it")
            above = posixpath.dirname(above)
        if path not in self.texts and len(self.texts) >= self._max_files:
            raise ToolError(f"there are {len(self.texts)} files already, and there may be no more")
        if len(text) > self._max_file_chars:
            raise ToolError(f"the file would have {len(text)} characters, at most {self._max_file_chars} are allowed")
        self.texts[path] = text
        return f"wrote {len(text)} characters to {path}"

    def _replace(self, path: str, old: str, new: str) -> str:
        count = self.texts[path].count(old) if old else 0
        if count != 1:
            raise ToolError(f"'old' must be in {path} exactly once, but is there {count} times")
        return self._write(path, self.texts[path].replace(old, new))

    def _is_folder(self, path: str) -> bool:
        return any(each.startswith(f"{path}/") for each in self.texts)


def _normal(path: str) -> str:
    """The path from the root of the tree, without `.` and `..`."""
    normal = posixpath.normpath(path.lstrip("/") or ".")
    if normal == ".." or normal.startswith("../"):
        raise ToolError(f"{path} leads out of the files")
    return normal


def _parameters(commands: list[str]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "command": {"type": "string", "enum": commands, "description": "What to do."},
        "path": {"type": "string", "description": "Of a file, or of a folder to list."},
        "first_line": {"type": "integer", "minimum": 1, "description": "To read from; the first is 1."},
        "num_lines": {"type": "integer", "minimum": 1, "description": "To read; all by default."},
    }
    if "write" in commands:
        properties |= {
            "text": {"type": "string", "description": "To write: the whole file."},
            "old": {"type": "string", "description": "To replace; it must be in the file exactly once."},
            "new": {"type": "string", "description": "What to put in its place."},
        }
    return {"type": "object", "properties": properties, "required": ["command"]}
