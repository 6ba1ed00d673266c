"""The server half of peers that only serve HTTP and are loaded by the generators of `http_load`."""

import socket
import time
from collections.abc import Collection
from typing import ClassVar

from bench.compare.http_load import build_generator, load_command
from bench.compare.measurement import LoadOrder
from bench.compare.peers.base import AsyncServer, Loop
from bench.compare.workloads import Operation

__all__ = ["HttpServer", "free_port", "wait_until_listening"]

#: Until a server listens that does not say when.
START_SECONDS = 15.0


class HttpServer(AsyncServer):
    """A server on uvloop."""

    loop: Loop = "uvloop"
    operations: ClassVar[Collection[Operation]] = ("http_record", "http_hello")

    def prepare(self) -> None:
        build_generator()

    def client_command(self, order: LoadOrder) -> list[str]:
        return load_command(order)


def free_port() -> int:
    """Return a free port on loopback, for servers that take no socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until_listening(port: int) -> None:
    """Block until a server accepts connections on a port of loopback; raise TimeoutError if no server does."""
    limit = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS).close()
        except ConnectionRefusedError:
            if time.monotonic() > limit:
                raise TimeoutError(f"nobody listens on port {port} after {START_SECONDS:g} s") from None
            time.sleep(0.01)
        else:
            return
