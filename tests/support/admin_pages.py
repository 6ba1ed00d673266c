"""A server with admin pages, and a client of Python's own for them."""

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastrpc import Server, ServerConfig

__all__ = [
    "OPERATOR",
    "Answer",
    "act",
    "fetch",
    "operators_file",
    "page",
    "port_of",
    "post_act",
    "server_with_pages",
    "speak",
]

#: The token of the operator "ada".
OPERATOR = "token-of-an-operator"


class Answer:
    """The answer that a client got."""

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


def fetch(port: int, path: str, method: str = "GET", *, body: bytes | None = None, **headers: str) -> Answer:
    """Ask for a page, in a separate thread."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        return Answer(connection.getresponse())
    finally:
        connection.close()


def post_act(port: int, name: str, token: str = OPERATOR, **values: Any) -> Answer:
    """Ask for an act, with these values as its body."""
    body = json.dumps(values).encode()
    headers = {"Authorization": f"Bearer {token}", "Content_Type": "application/json"}
    return fetch(port, f"/act/{name}", "POST", body=body, **headers)


async def page(
    server: Server, path: str, method: str = "GET", *, body: bytes | None = None, **headers: str
) -> Answer:
    """Ask a server for a page."""
    return await asyncio.to_thread(fetch, port_of(server), path, method, body=body, **headers)


async def act(server: Server, name: str, token: str = OPERATOR, **values: Any) -> Answer:
    """Ask a server for an act."""
    return await asyncio.to_thread(post_act, port_of(server), name, token, **values)


def port_of(server: Server) -> int:
    """Return the port of the pages."""
    address = server.admin.address
    assert address is not None
    return address.port


def operators_file(folder: Path) -> Path:
    """Write the file of operators, with one, and return its path."""
    file = folder / "operators.toml"
    file.write_text(f'[[token]]\ntoken = "{OPERATOR}"\nname = "ada"\n')
    return file


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
