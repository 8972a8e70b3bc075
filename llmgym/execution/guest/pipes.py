"""Whole reads and writes on descriptors, and frames: a length and as many bytes."""

from __future__ import annotations

import os
import struct

LENGTH = struct.Struct(">I")
HEADER = struct.Struct(">II")
"""Before each request: bytes of the program, and bytes of its tests."""


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


def write_frame(descriptor: int, data: bytes) -> None:
    write_all(descriptor, LENGTH.pack(len(data)) + data)


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
