"""The process under test, from its fork to the first line of the program."""

from __future__ import annotations

import gc
import marshal
import os
import sys
from collections.abc import Callable
from typing import Any

from . import cells, kernel, objects, program
from .codec import decode
from .confine import Confinement
from .pipes import read_exactly

_SEEDS: list[Callable[[int], None]] = []
"""What seeds the module `random`, where it is imported."""


def run_child(confinement: Confinement, size: int, *, control: int, request: int) -> None:
    """Read what is to be run from descriptor `request`, be shut in, then run it. Does not return."""
    try:
        kernel.die_with_parent()
        asked = decode_request(read_exactly(request, size))
        os.close(request)
        confinement.enter(asked["limits"])
        if asked["env"]:
            os.environ.update(asked["env"])
        _lay_files(asked["files"])
        for seed in _SEEDS:
            seed(int.from_bytes(os.urandom(16), "big"))
        confinement.close_door()
        os.write(control, b"+")
    except BaseException as error:
        os.write(control, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:1000])
        os._exit(1)
    gc.enable()
    if asked["argv"]:
        os.closerange(3, 5)
        program.run_command(asked, control=control)
    is_plain = not asked["calls"] and not asked["is_served"]
    os.closerange(3 if is_plain else 4 if asked["calls"] else 5, 6)
    if asked.get("is_cell"):
        cells.run_cell(asked)
    elif asked["calls"]:
        program.run_calls(asked)
    elif asked["is_served"]:
        objects.serve(asked)
    else:
        program.run_program(asked)


def decode_request(data: bytes) -> dict[str, Any]:
    """A request from the host, which is trusted: as marshal wrote it, or where that cannot, as the codec."""
    request: dict[str, Any] = marshal.loads(data[1:]) if data[:1] == b"m" else decode(data[1:])
    return request


def make_ready(directory: str) -> None:
    """In the zygote: all that is the same for every child, so that none has to do it."""
    os.environ.clear()
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    os.environ.update({"PATH": path, "HOME": directory, "TMPDIR": directory, "LANG": "C.UTF-8"})
    os.environ.update({"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"})
    program.open_standard_streams()
    if "random" in sys.modules:
        _SEEDS.append(super(sys.modules["random"].Random, sys.modules["random"]._inst).seed)


def _lay_files(files: dict[str, bytes]) -> None:
    for path, data in files.items():
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
