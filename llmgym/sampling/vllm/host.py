"""The process that vLLM runs in: it is told what to do by its parent, and ends with it.

vLLM changes the process that imports it: environment variables, seeds, the number of torch's threads, what goes to
stdout. Here that is nobody's concern, and a script without `if __name__ == "__main__"` is never run a second time.
"""

import ctypes
import os
import shutil
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from .channel import Frames, frame, kill_group

_MAX_BYTES = 1 << 20
_PR_SET_CHILD_SUBREAPER = 36

Send = Callable[[list[tuple[Any, ...]]], None]


def main() -> None:
    """Start an engine as the first frame says, and serve it until the parent closes the channel or dies."""
    os.dup2(2, 1)  # whatever is printed here goes where the errors go
    with suppress(AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # vLLM's workers are children of its children
    channel = socket.socket(fileno=int(sys.argv[1]))
    inbox: SimpleQueue[Any] = SimpleQueue()
    receiver = threading.Thread(target=_receive, args=(channel, inbox), daemon=True)
    receiver.start()
    settings = inbox.get()
    lock = threading.Lock()

    def send(messages: list[tuple[Any, ...]]) -> None:
        with lock:
            channel.sendall(frame(messages))

    try:
        from .host_engines import start_engine

        server, facts = start_engine(**settings)
        send([("ready", facts)])
        server.serve(inbox, send)
    except BaseException as error:  # whatever it is, the parent waits for it
        traceback.print_exc()
        sys.stderr.flush()
        try:
            send([("died", f"{type(error).__name__}: {error}")])
        except OSError:  # it is the parent that died
            receiver.join()  # which removes what it left, and ends this process
    _end()


def _receive(channel: socket.socket, inbox: SimpleQueue[Any]) -> None:
    """Until the parent is gone, or says what nobody here understands: then this process is of no more use."""
    frames, own = Frames(), [os.environ["TMPDIR"]]
    try:
        while data := channel.recv(_MAX_BYTES):
            for value in frames.feed(data):
                match value:
                    case "inherit", str(folder):
                        own.append(folder)
                    case ("farewell",):
                        own = own[:1]
                    case _:
                        inbox.put(value)
    except ConnectionResetError:
        pass  # the parent was killed before it had read all answers
    except Exception:  # whatever it is: without this thread nothing would end the process
        traceback.print_exc()
        sys.stderr.flush()
        _end()
    # Nobody else would remove what was made for this process, and what a parent that was killed has left.
    _end(folders=own)


def _end(*, folders: Sequence[str] = ()) -> None:
    """End this process and all that it started, at once; where no folders are given, its parent reads the log."""
    kill_group(os.getpid(), last=os.getpid())  # it leads a group of its own
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0 if folders else 1)


if __name__ == "__main__":
    main()
