"""A program that calls by gRPC on a single connection: `python -m tests.support.single_call KIND URL`.

The second call keeps the connection open until h2specd has seen the answer to all that it sent. A relay takes one
connection alone: on another one, which a client opens when it loses the first, h2specd would begin to judge anew.
"""

import asyncio
import contextlib
import socket
import sys
import threading
from urllib.parse import urlsplit

from fastrpc import Client, FastRPCError, SyncClient

METHOD = "test.v1.Raw.echo"
#: h2specd gives each case three seconds, in which the program starts and makes two calls.
SECONDS = 0.7


async def call_on_loop(target: str) -> None:
    """Call with the client of a loop."""
    async with Client(target) as client:
        for _ in range(2):
            with contextlib.suppress(FastRPCError):
                await client.with_options(timeout=SECONDS).call(METHOD, b"")


def call_blocking(target: str) -> None:
    """Call with the blocking client."""
    with SyncClient(target) as client:
        for _ in range(2):
            with contextlib.suppress(FastRPCError):
                client.with_options(timeout=SECONDS).call(METHOD, b"")


def pass_on(source: socket.socket, target: socket.socket) -> None:
    """Send to one socket all that comes from the other, and its end."""
    # A reset by the server that breaks rules is an end as well.
    with contextlib.suppress(ConnectionError):
        while read := source.recv(65_536):
            target.sendall(read)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def relay_one(listener: socket.socket, server: tuple[str, int]) -> None:
    """Connect the first client with a server, and refuse all others."""
    near, _ = listener.accept()
    listener.close()
    far = socket.create_connection(server)
    threading.Thread(target=pass_on, args=(far, near), daemon=True).start()
    pass_on(near, far)


if __name__ == "__main__":
    kind, url = sys.argv[1:]
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    listener = socket.create_server(("127.0.0.1", 0))
    place = f"grpc://127.0.0.1:{listener.getsockname()[1]}"
    threading.Thread(target=relay_one, args=(listener, (address.hostname, address.port))).start()
    # The outcome of the call does not matter to the server that breaks rules.
    with contextlib.suppress(FastRPCError):
        call_blocking(place) if kind == "blocking" else asyncio.run(call_on_loop(place))
