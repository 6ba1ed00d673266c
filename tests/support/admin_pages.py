"""A server with admin pages, and a client of Python's own for them."""

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastrpc import Server, ServerConfig

__all__ = ["Answer", "fetch", "page", "server_with_pages", "speak"]


class Answer:
    """What a client got."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.content = response.read()

    @property
    def text(self) -> str:
        return self.content.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.content)


def fetch(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    """Ask for a page, in a thread of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        return Answer(connection.getresponse())
    finally:
        connection.close()


async def page(server: Server, path: str, method: str = "GET", **headers: str) -> Answer:
    """Ask a server for a page."""
    address = server.admin.address
    assert address is not None
    return await asyncio.to_thread(fetch, address.port, path, method, **headers)


@asynccontextmanager
async def server_with_pages(
    *sources: Any, address: str = "tcp://127.0.0.1:0", **config: Any
) -> AsyncIterator[Server]:
    """Serve at a port of loopback, with admin pages."""
    async with Server(*sources, config=ServerConfig(admin_address=address, **config)) as server:
        await server.listen("tcp://127.0.0.1:0")
        yield server


def speak(port: int, data: bytes) -> bytes:
    """Send these bytes, and return all that comes until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(data)
        return b"".join(iter(lambda: peer.recv(65_536), b""))
