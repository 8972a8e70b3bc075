"""A tool server for tests: `python mcp_server.py [DESCRIPTOR]`, over stdin and stdout, or streamable HTTP.

Over HTTP it takes connections from a socket that listens already, so that no port need be free twice.
"""

import logging
import os
import socket
import sys
import time

from mcp import MCPError
from mcp.server import MCPServer
from mcp.types import INVALID_PARAMS

server = MCPServer("test", log_level="CRITICAL")
counts = {"calls": 0}


@server.tool()
def add(left: int, right: int = 1) -> int:
    """Adds two numbers."""
    return left + right


@server.tool()
def count() -> dict[str, int]:
    """Counts its own calls."""
    counts["calls"] += 1
    return counts


@server.tool()
def fail() -> str:
    """Fails at what it does."""
    raise ValueError("nobody sees this")


@server.tool()
def refuse() -> str:
    """Refuses by the protocol's own error."""
    raise MCPError(INVALID_PARAMS, "there is no such day")


@server.tool()
def hang() -> str:
    """Takes long."""
    time.sleep(60)
    return ""


@server.tool()
def die() -> str:
    """Ends the server."""
    os._exit(3)


@server.tool()
def pid() -> int:
    """The server's process."""
    return os.getpid()


if __name__ == "__main__":
    logging.disable()
    if len(sys.argv) > 1:
        import uvicorn

        config = uvicorn.Config(server.streamable_http_app(), log_level="critical")
        uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
    else:
        server.run()
