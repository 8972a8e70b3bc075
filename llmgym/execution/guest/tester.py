"""The process that runs tests of a program it never sees: only values and stand-ins of objects reach it.

It is not the process under test, so what it reports is a verdict. A stand-in equals nothing but itself, unless the
task says that its objects may be compared: otherwise an object could pass for the answer by claiming to be equal to it.
"""

from __future__ import annotations

import builtins
import gc
import os
import types
from collections.abc import Callable
from typing import Any

from . import kernel
from .child import decode_request
from .codec import Handle, decode, encode
from .confine import Confinement
from .pipes import read_exactly, read_frame, write_frame

_ANSWERS, _QUESTIONS = 3, 4
_REASON_CHARS = 300


def run_tests(confinement: Confinement, size: int, *, ready: int, verdicts: int) -> None:
    """Read the tests from descriptor 0, run them one by one, and report each. Does not return."""
    try:
        kernel.die_with_parent()
        tests = decode_request(read_exactly(0, size))
        confinement.enter_tester(tests["limits"])
        gc.enable()
        os.dup2(1, 0)  # /dev/null
        os.write(ready, b"+")
        os.close(ready)
        link = _Link(int(tests["limits"]["value_bytes"]), tests["compares_objects"])
        namespace: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
        failure = link.begin(tests["names"], namespace)
        for index, test in enumerate(tests["tests"]):
            reason = failure or _run_one(test, index, namespace) or link.end
            failure = link.end
            write_frame(verdicts, encode([not reason, reason[:_REASON_CHARS]]))
    except BaseException as error:
        write_frame(verdicts, encode(["tester failed", f"{type(error).__name__}: {error}"[:_REASON_CHARS]]))
    os._exit(0)


def _run_one(test: str, index: int, namespace: dict[str, Any]) -> str:
    """Why the test failed, or nothing."""
    try:
        exec(compile(test, f"<test {index + 1}>", "exec"), namespace)
    except AssertionError as error:
        return f"assertion failed {error}".rstrip()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return ""


class _Gone(BaseException):
    """The process under test has ended, or wrote what is no answer. No `except Exception` of a test may hide it."""


class _Link:
    """The pipes to the process under test."""

    def __init__(self, limit: int, compares_objects: bool) -> None:
        self.limit = limit
        self.kind = _Comparable if compares_objects else StandIn
        self.stand_ins: dict[int, StandIn] = {}
        self.exceptions: dict[int, type[BaseException]] = {}
        self.callbacks: list[Callable[..., Any]] = []
        self.end = ""
        """Why there are no more answers, once there are none: a test that expects any exception is not passed by it."""

    def begin(self, names: list[str], namespace: dict[str, Any]) -> str:
        """Wait for the import and fetch the names. Returns why it cannot be tested, or nothing."""
        try:
            self.receive([])
            module = self.resolve(Handle(0, "module", False))
            for name in names:
                try:
                    namespace[name] = self.ask("getattr", module, name)
                except AttributeError:
                    continue
                self.make_catchable(name, namespace)
        except BaseException as error:
            return f"{type(error).__name__}: {error}" if not isinstance(error, _Gone) else str(error)
        return ""

    def make_catchable(self, name: str, namespace: dict[str, Any]) -> None:
        """Give tests a real exception class for one of the program's, so that they can expect it."""
        thing = namespace[name]
        if isinstance(thing, StandIn) and thing.handle_.is_class:
            mro = self.ask("getattr", thing, "__mro__")
            bases = [kind for kind in map(self.known_exception, mro) if kind is not None]
            if bases:
                self.exceptions[thing.handle_.index] = namespace[name] = type(name, (bases[0],), {})

    def known_exception(self, thing: Any) -> type[BaseException] | None:
        if not isinstance(thing, StandIn):
            return None
        if thing.handle_.index in self.exceptions:
            return self.exceptions[thing.handle_.index]
        kind = getattr(builtins, str(self.ask("getattr", thing, "__name__")), None)
        return kind if isinstance(kind, type) and issubclass(kind, BaseException) else None

    def ask(self, operation: str, *args: Any) -> Any:
        try:
            write_frame(_QUESTIONS, encode([operation, list(args)], max_bytes=self.limit, other=self.name_of))
        except BrokenPipeError:
            raise self.gone("the process under test has ended") from None
        return self.receive(args[1] if operation == "call" else args[1:])

    def receive(self, sent: Any) -> Any:
        while True:
            try:
                answer = decode(read_frame(_ANSWERS, self.limit), resolve=self.resolve)
            except (EOFError, ValueError) as error:
                raise self.gone(f"the process under test has ended, or wrote what is no value ({error})") from None
            shape = [type(part) for part in answer] if type(answer) is list else []
            if shape == [str, int, list] and answer[0] == "callback":
                self.call_back(answer[1], answer[2])
            elif shape[:1] == [str] and answer[0] == "value" and len(shape) == 3:
                _change_in_place(sent, answer[2])
                return answer[1]
            elif shape == [str, str, str, list] and answer[0] == "error":
                raise self.exception(answer[1], answer[2], answer[3])
            elif shape == [str, str, str] and answer[0] == "import error":
                raise self.gone(f"the program could not be imported: {answer[1]}: {answer[2]}")
            else:
                raise self.gone("the process under test wrote what is no answer")

    def gone(self, why: str) -> _Gone:
        self.end = why
        return _Gone(why)

    def call_back(self, number: int, args: list[Any]) -> None:
        value = self.callbacks[number - 1](*args)
        write_frame(_QUESTIONS, encode(["returned", value], max_bytes=self.limit, other=self.name_of))

    def exception(self, name: str, message: str, classes: list[Any]) -> BaseException:
        for index in classes:
            if index in self.exceptions:
                return self.exceptions[index](message)
        kind = getattr(builtins, name, Exception)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            kind = Exception
        try:
            error: BaseException = kind(message)
        except TypeError:
            error = Exception(f"{name}: {message}")
        return error

    def resolve(self, handle: Handle) -> Any:
        return self.stand_ins.setdefault(handle.index, self.kind(self, handle))

    def name_of(self, thing: Any) -> Any:
        if isinstance(thing, StandIn):
            return thing.handle_
        if isinstance(thing, (types.FunctionType, types.BuiltinFunctionType, type)):
            self.callbacks.append(thing)
            return Handle(-len(self.callbacks), "function", False)
        raise TypeError(f"An object of {type(thing).__name__} cannot be given to the program under test.")


def _change_in_place(sent: Any, changed: Any) -> None:
    """What the program did to lists, dicts and sets that it was given is done to the tester's own."""
    for mine, theirs in zip(sent, changed if type(changed) is list else []):  # noqa: B905  (Python 3.9 has no strict=)
        if type(mine) is list and type(theirs) is list:
            mine[:] = theirs
        elif type(mine) in (dict, set) and type(theirs) is type(mine):
            mine.clear()
            mine.update(theirs)


class StandIn:
    """An object of the program under test: what is done to it is done there, and what comes back is a value."""

    __slots__ = ("handle_", "link_")

    def __init__(self, link: _Link, handle: Handle) -> None:
        object.__setattr__(self, "link_", link)
        object.__setattr__(self, "handle_", handle)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.link_.ask("call", self, list(args), kwargs)

    def __getattr__(self, name: str) -> Any:
        return self.link_.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.link_.ask("setattr", self, name, value)

    def __len__(self) -> Any:
        return self.link_.ask("len", self)

    def __bool__(self) -> bool:
        return self.link_.ask("bool", self) is True

    def __iter__(self) -> Any:
        return self.link_.ask("iter", self)

    def __next__(self) -> Any:
        return self.link_.ask("next", self)

    def __getitem__(self, key: Any) -> Any:
        return self.link_.ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.link_.ask("setitem", self, key, value)

    def __delitem__(self, key: Any) -> None:
        self.link_.ask("delitem", self, key)

    def __str__(self) -> Any:
        return self.link_.ask("str", self)

    def __repr__(self) -> Any:
        return self.link_.ask("repr", self)

    def __enter__(self) -> Any:
        return self.link_.ask("enter", self)

    def __exit__(self, *_: object) -> None:
        self.link_.ask("exit", self)

    def __instancecheck__(self, thing: object) -> bool:
        return isinstance(thing, StandIn) and self.link_.ask("isinstance", thing, self) is True


class _Comparable(StandIn):
    """An object that may itself say what it equals."""

    __slots__ = ()

    def __hash__(self) -> Any:
        return self.link_.ask("hash", self)

    def __contains__(self, item: Any) -> bool:
        return self.link_.ask("contains", self, item) is True

    def __eq__(self, other: object) -> bool:
        """Only another object: equality with a value is never left to the program."""
        return isinstance(other, StandIn) and self.link_.ask("eq", self, other) is True

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, StandIn) or self.link_.ask("ne", self, other) is True


def _delegate(name: str) -> Callable[..., Any]:
    def operate(self: _Comparable, *others: Any) -> Any:
        return self.link_.ask(name, self, *others)

    return operate


for _name in ("lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(_Comparable, f"__{_name}__", _delegate(_name))
for _name in ("and", "or", "xor", "neg", "abs", "round"):
    setattr(_Comparable, f"__{_name}__", _delegate(_name))
