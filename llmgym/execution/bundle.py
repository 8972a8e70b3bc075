"""The guest program as one text, sent to whatever Python a sandbox has."""

import functools
import os
from pathlib import Path

_ORDER = (
    "codec",
    "pipes",
    "kernel",
    "seccomp",
    "landlock",
    "confine",
    "program",
    "cells",
    "objects",
    "child",
    "tester",
    "run",
    "zygote",
)
"""The modules of the folder guest/, each after those that it imports."""

_BOOT = (
    "import os\n"
    "def read(size):\n"
    "    data = b''\n"
    "    while len(data) < size:\n"
    "        part = os.read(0, size - len(data))\n"
    "        if not part: os._exit(0)\n"
    "        data += part\n"
    "    return data\n"
    "exec(compile(read(int.from_bytes(read(4), 'big')), '<guest>', 'exec'))\n"
)


def boot_arguments() -> list[str]:
    """Given to the guest's Python: it then reads the guest program from descriptor 0. Process lists tell the owner."""
    return ["-c", _BOOT, f"llmgym-guest-of-{os.getpid()}"]


_LOADER = """
import marshal, os, sys, types

def compiled(sources):
    # In a process of its own: what the compiler leaves behind would scatter what every run touches, and so copies.
    ours, theirs = os.pipe()
    if os.fork() == 0:
        codes = [(name, compile(source, "<guest " + name + ">", "exec")) for name, source in sources]
        with open(theirs, "wb") as file:
            marshal.dump(codes, file)
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as file:
        codes = marshal.load(file)
    os.wait()
    return codes

package = types.ModuleType("llmgym_guest")
package.__path__ = []
sys.modules["llmgym_guest"] = package
for name, code in compiled(SOURCES):
    module = types.ModuleType("llmgym_guest." + name)
    module.__package__ = "llmgym_guest"
    sys.modules[module.__name__] = module
    setattr(package, name, module)
    exec(code, module.__dict__)
del SOURCES, code
sys.modules["llmgym_guest.zygote"].main()
"""


@functools.cache
def guest_program() -> bytes:
    """The guest program, to be sent after its length."""
    folder = Path(__file__).with_name("guest")
    sources = [(name, (folder / f"{name}.py").read_text(encoding="utf-8")) for name in _ORDER]
    return f"SOURCES = {sources!r}\n{_LOADER}".encode()
