"""What runs in the child: a Python program, calls of its functions, or a command. Everything here may be lied to."""

from __future__ import annotations

import atexit
import builtins
import io
import os
import signal
import sys
import traceback
import types
from typing import Any

from .codec import CodecError, encode
from .pipes import write_all, write_frame

VALUES = 3
"""Descriptor on which the child writes its values."""
QUESTIONS = 4
"""Descriptor on which a served child reads what its tester asks."""

_MESSAGE_CHARS = 200


def run_program(program: dict[str, Any]) -> None:
    """Run the program's source as `__main__`, to the end that Python itself would give it. Does not return."""
    module = _module("__main__", "main.py", program["source"], is_kept=not program.get("home"))
    sys.argv = ["main.py"]
    code = 0
    try:
        exec(compile(program["source"], "main.py", "exec"), module.__dict__)
    except SystemExit as error:
        code = exit_code_of(error)
    except BaseException as error:
        print_traceback(error)
        code = 1
    finish(code)


def run_command(program: dict[str, Any], *, control: int) -> None:
    """Run the command. Does not return.

    Where this is the first process of a namespace, signals of its own do nothing to it: the command is then a child,
    and a signal that ends it is told on `control`.
    """
    if os.getpid() == 1:
        command = os.fork()
        if command:
            for descriptor in (0, 1, 2):
                os.close(descriptor)
            ended, status = 0, 0
            while ended != command:
                ended, status = os.wait()
            if os.WIFSIGNALED(status):
                os.write(control, b"%d" % os.WTERMSIG(status))
            os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0)
    os.close(control)
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    try:
        os.execvpe(program["argv"][0], program["argv"], os.environ)
    except OSError as error:
        message = f"{program['argv'][0]}: {error.strerror}\n"
        os.write(2, message.encode("utf-8", "replace"))
    os._exit(127 if not os.path.exists(program["argv"][0]) else 126)


def run_calls(program: dict[str, Any]) -> None:
    """Import the program's source and write the value of each call. Does not return."""
    room = [program["limits"]["value_bytes"]]
    module = import_source(program["source"], room)
    if module is not None:
        for name, args, kwargs in program["calls"]:
            try:
                function: Any = module
                for part in name.split("."):
                    function = getattr(function, part)
                value = function(*args, **kwargs)
            except BaseException as error:
                answer: list[Any] = ["error", builtin_name(error), message_of(error)]
            else:
                answer = ["value", value]
            _answer(answer, room)
    finish(0)


def import_source(source: str, room: list[int]) -> types.ModuleType | None:
    """The source as the module `solution`, or None after its failure was told on the value descriptor."""
    module = _module("solution", "solution.py", source)
    sys.argv = ["solution.py"]
    try:
        exec(compile(source, "solution.py", "exec"), module.__dict__)
    except BaseException as error:
        print_traceback(error)
        _answer(["import error", builtin_name(error), message_of(error)], room)
        return None
    return module


def builtin_name(error: BaseException) -> str:
    """The nearest of Python's own exceptions that `error` is one of."""
    for kind in type(error).__mro__:
        name = str(kind.__name__)
        if getattr(builtins, name, None) is kind:
            return name
    return "Exception"


def message_of(error: BaseException) -> str:
    try:
        return str(error)[:_MESSAGE_CHARS]
    except BaseException:
        return ""


def _answer(answer: list[Any], room: list[int]) -> None:
    try:
        data = encode(answer, max_bytes=room[0])
    except BaseException as error:  # too large or too deep, or the value's own methods fail
        kind = "CodecError" if isinstance(error, CodecError) else builtin_name(error)
        data = encode(["error", kind, message_of(error)])
    room[0] = max(0, room[0] - len(data))
    write_frame(VALUES, data)


def new_module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    sys.modules[name] = module
    return module


def _module(name: str, file_name: str, source: str, *, is_kept: bool = True) -> types.ModuleType:
    folder = os.getcwd()
    module = new_module(name)
    module.__file__ = f"{folder}/{file_name}"
    if is_kept:  # where programs read their own text, and tracebacks quote it
        try:
            file = os.open(file_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            write_all(file, source.encode("utf-8", "surrogatepass"))
            os.close(file)
        except OSError:
            pass  # one of the request's files has the name, or there is no room
    sys.path.insert(0, folder)
    return module


def open_standard_streams() -> None:
    """Fresh text streams on the descriptors 0, 1 and 2, as at the start of any Python: in the zygote, where they are
    pipes as well, and unused."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        raw = io.FileIO(number, mode, closefd=False)
        buffer: Any = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
        errors = "backslashreplace" if name == "stderr" else "surrogateescape"
        stream = io.TextIOWrapper(buffer, "utf-8", errors, line_buffering=name == "stderr")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def print_traceback(error: BaseException) -> None:
    """As Python would: without the frame of this file, which is the outermost."""
    try:
        inner = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(type(error), error, inner)
    except BaseException:
        os.write(2, b"Traceback: not to be printed\n")


def exit_code_of(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    try:
        print(error.code, file=sys.stderr)
    except BaseException:
        pass
    return 1


def finish(code: int) -> None:
    """What Python does at its end: wait for threads, run exit handlers, flush. Does not return."""
    # threading is not imported here: it would do work at each fork.
    for last in (getattr(sys.modules.get("threading"), "_shutdown", None), getattr(atexit, "_run_exitfuncs", None)):
        try:
            if last is not None:
                last()
        except BaseException:
            traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    os._exit(code)
