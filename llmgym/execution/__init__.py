"""Running untrusted code: the contract, the value codec, and the pool of workers. Kinds of sandboxes are plug-ins."""

from .backend import Backend
from .bundle import boot_arguments
from .channel import Channel, ProcessChannel, WorkerLost
from .contract import Call, Outcome, Output, Request, StatementEnd, Status, Value
from .forms import (
    CaseResult,
    DataCase,
    DataTests,
    Grading,
    InProcessTests,
    RpcTests,
    StdioCase,
    StdioTests,
    Tests,
    VerdictSource,
    agrade,
    form_of_check,
    form_of_statements,
    grade,
    grade_many,
)
from .guest.codec import CodecError, Opaque, decode, encode
from .limits import Limits
from .opening import open_sandbox
from .sandbox import Sandbox
from .session import Session
from .shared import shared_sandbox

__all__ = [
    "Backend",
    "Call",
    "CaseResult",
    "Channel",
    "CodecError",
    "DataCase",
    "DataTests",
    "Grading",
    "InProcessTests",
    "Limits",
    "Opaque",
    "Outcome",
    "Output",
    "ProcessChannel",
    "Request",
    "RpcTests",
    "Sandbox",
    "Session",
    "StatementEnd",
    "Status",
    "StdioCase",
    "StdioTests",
    "Tests",
    "Value",
    "VerdictSource",
    "WorkerLost",
    "agrade",
    "boot_arguments",
    "decode",
    "encode",
    "form_of_check",
    "form_of_statements",
    "grade",
    "grade_many",
    "open_sandbox",
    "shared_sandbox",
]
