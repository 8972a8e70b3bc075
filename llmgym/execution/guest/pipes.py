"""Whole reads and writes on descriptors, and frames: a length and as many bytes."""

from __future__ import annotations

import os
import struct
from typing import Any

LENGTH = struct.Struct(">I")
HEADER = struct.Struct(">IIIdQQQQ")
"""Before each request: bytes of the tests, of the program, and of its stdin, which follow in this order; then the
limits that the zygote holds it to: wall seconds, and bytes of memory, of kept output, of output, and of values."""
REPLY = struct.Struct(">BBddQii")
"""Why the run was ended and whether it had tests; wall and CPU seconds; KiB of memory; exit code and signal, or -1."""
PART = struct.Struct(">QQQ")
"""For each of stdout, stderr, values and verdicts of tests: bytes written, those before the cut, those that follow."""
LOST, RAN = b"L", b"R"
VERDICTS = ("", "timeout", "memory", "output")


def read_exactly(descriptor: int, size: int) -> bytes:
    """`size` bytes. Raises EOFError where the other side is gone."""
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read_frame(descriptor: int, max_bytes: int) -> bytes:
    """One frame. Raises EOFError where the other side is gone, ValueError where the frame is larger than allowed."""
    (size,) = LENGTH.unpack(read_exactly(descriptor, LENGTH.size))
    if size > max_bytes:
        raise ValueError(f"a frame of {size} bytes, where {max_bytes} are allowed")
    return read_exactly(descriptor, size)


def read_into(descriptor: int, view: memoryview) -> None:
    """Fill `view`, with no copy anywhere else in memory. Raises EOFError where the other side is gone."""
    while view:
        size = os.readv(descriptor, [view])
        if not size:
            raise EOFError
        view = view[size:]


def write_frame(descriptor: int, data: bytes) -> None:
    write_all(descriptor, LENGTH.pack(len(data)) + data)


def write_views(descriptor: int, views: list[Any]) -> None:
    """Write buffers one after another, in one call where the other side takes it all."""
    while views:
        size = os.writev(descriptor, views)
        while views and size >= len(views[0]):
            size -= len(views.pop(0))
        if views:
            views[0] = memoryview(views[0])[size:]


def split_frames(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole frames at the start of `data`, and the bytes after them."""
    frames, position = [], 0
    while position + LENGTH.size <= len(data):
        (size,) = LENGTH.unpack_from(data, position)
        end = position + LENGTH.size + size
        if end > len(data):
            break
        frames.append(data[position + LENGTH.size : end])
        position = end
    return frames, data[position:]
