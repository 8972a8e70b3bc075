"""The code under test, served: its tester asks for names, calls and operations, and gets values or handles."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from typing import Any

from .codec import Handle, decode, encode
from .pipes import read_frame, write_frame
from .program import QUESTIONS, VALUES, builtin_name, import_source, message_of

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "len": len,
    "iter": iter,
    "next": next,
    "bool": bool,
    "str": str,
    "repr": repr,
    "hash": hash,
    "getattr": getattr,
    "setattr": setattr,
    "isinstance": isinstance,
    "call": lambda function, args, kwargs: function(*args, **kwargs),
    "enter": lambda manager: type(manager).__enter__(manager),
    "exit": lambda manager: type(manager).__exit__(manager, None, None, None),
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "delitem": operator.delitem,
    "contains": operator.contains,
    **{name: getattr(operator, f"__{name}__") for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{name: getattr(operator, f"__{name}__") for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")},
    **{name: getattr(operator, f"__{name}__") for name in ("and", "or", "xor", "neg", "abs")},
    "round": round,
}


def serve(request: dict[str, Any]) -> None:
    """Import the source, then answer questions until there are no more. Does not return."""
    limit = int(request["limits"]["value_bytes"])
    module = import_source(request["source"], [limit])
    if module is None:
        os._exit(1)
    server = _Server(limit)
    server.keep(module)
    write_frame(VALUES, encode(["value", None, []]))  # it is imported
    try:
        while True:
            write_frame(VALUES, server.answer(server.read()))
    except EOFError:
        os._exit(0)


class _Server:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.objects: list[Any] = []
        self.index_of: dict[int, int] = {}

    def keep(self, thing: Any) -> Handle:
        index = self.index_of.setdefault(id(thing), len(self.objects))
        if index == len(self.objects):
            self.objects.append(thing)
        return Handle(index, type(thing).__name__, isinstance(thing, type))

    def read(self) -> Any:
        return decode(read_frame(QUESTIONS, self.limit), resolve=self.resolve)

    def resolve(self, handle: Handle) -> Any:
        return self.objects[handle.index] if handle.index >= 0 else self.callback(-handle.index)

    def callback(self, number: int) -> Callable[..., Any]:
        """A function of the tester, which asked this process to do something with it."""

        def call_tester(*args: Any) -> Any:
            write_frame(VALUES, self.encode(["callback", number, list(args)]))
            while True:
                question = self.read()
                if question[0] == "returned":
                    return question[1]
                write_frame(VALUES, self.answer(question))  # it used one of the arguments

        return call_tester

    def answer(self, question: Any) -> bytes:
        operation, args = question
        try:
            value = _OPERATIONS[operation](*args)
            changed = args[1] if operation == "call" else args[1:]
            return self.encode(["value", value, [item if _is_mutable(item) else None for item in changed]])
        except BaseException as error:
            return self.encode(["error", builtin_name(error), message_of(error), self.classes_of(error)])

    def classes_of(self, error: BaseException) -> list[int]:
        """Which of the classes that the tester holds the exception is one of."""
        classes = [self.index_of.get(id(kind)) for kind in type(error).__mro__]
        return [index for index in classes if index is not None]

    def encode(self, answer: Any) -> bytes:
        return encode(answer, max_bytes=self.limit, other=self.keep)


def _is_mutable(value: Any) -> bool:
    return isinstance(value, (list, dict, set))
