"""A client of the HTTP gateway for tests: its requests and answers are bytes."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Self

from fastrpc import Address
from tests.support.peer_writing import write_to

__all__ = ["HttpClient", "Response", "content_of", "fields_of", "request", "soon"]

#: The longest time of any step before the test fails.
WAIT_SECONDS = 30.0


async def soon(event: asyncio.Event) -> None:
    """Return once an event is set."""
    async with asyncio.timeout(WAIT_SECONDS):
        await event.wait()


@dataclass
class Response:
    """One response."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        found = [value for known, value in self.fields if known == name.lower()]
        assert len(found) == 1, (name, self.fields)
        return found[0]

    def __contains__(self, name: str) -> bool:
        return any(known == name.lower() for known, _ in self.fields)

    @property
    def value(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


def request(
    method: str, target: str, body: bytes | Any = b"", *, version: str = "1.1", **fields: str | None
) -> bytes:
    """Return a request; names of fields have `_` for `-`. A body that is not bytes is sent as JSON."""
    lines = [f"{name}: {value}\r\n" for name, value in fields_of(method, body, **fields).items()]
    head = f"{method} {target} HTTP/{version}\r\n{''.join(lines)}\r\n"
    return head.encode("latin-1") + content_of(body)


def content_of(body: bytes | Any) -> bytes:
    """Return the bytes of a body."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def fields_of(method: str, body: bytes | Any = b"", **fields: str | None) -> dict[str, str]:
    """Return the fields of a request."""
    given: dict[str, str | None] = {"Host": "127.0.0.1"}
    if method == "POST":
        given |= {"Content-Type": "application/json", "Content-Length": str(len(content_of(body)))}
    given |= {name.replace("_", "-"): value for name, value in fields.items()}
    return {name: value for name, value in given.items() if value is not None}


class HttpClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, address: Address | str, **options: Any) -> Self:
        found = Address.parse(address) if isinstance(address, str) else address
        if found.scheme == "unix":
            return cls(*await asyncio.open_unix_connection(found.path))
        return cls(*await asyncio.open_connection(found.host, found.port, **options))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, data: bytes) -> None:
        write_to(self.writer, data)

    async def ask(self, method: str, target: str, body: Any = b"", **fields: str | None) -> Response:
        """Send a request, and return its response."""
        self.send(request(method, target, body, **fields))
        return await self.response(has_body=method != "HEAD")

    async def post(self, target: str, body: Any = b"", **fields: str | None) -> Response:
        return await self.ask("POST", target, body, **fields)

    async def get(self, target: str, **fields: str | None) -> Response:
        return await self.ask("GET", target, **fields)

    async def response(self, *, has_body: bool = True) -> Response:
        """Read one response."""
        found = await self.head()
        return await self.rest(found) if has_body else found

    async def rest(self, found: Response) -> Response:
        """Read the body of a response after its head."""
        async with asyncio.timeout(WAIT_SECONDS):
            if found.status in (204, 304):
                return found
            if "transfer-encoding" in found:
                while (chunk := await self.chunk()) != b"":
                    found.chunks.append(chunk)
                found.body = b"".join(found.chunks)
            elif "content-length" in found:
                found.body = await self.reader.readexactly(int(found["content-length"]))
            else:
                found.body = await self.reader.read()
            return found

    async def head(self) -> Response:
        """Read the head of a response."""
        async with asyncio.timeout(WAIT_SECONDS):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        assert lines[0].startswith("HTTP/1.1 "), lines[0]
        fields = [line.split(": ", 1) for line in lines[1:-2]]
        return Response(int(lines[0][9:12]), [(name.lower(), value) for name, value in fields])

    async def chunk(self) -> bytes:
        """Read one chunk; the last one is empty."""
        async with asyncio.timeout(WAIT_SECONDS):
            size = int(await self.reader.readline(), 16)
            content = await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
            return content

    async def is_closed(self) -> bool:
        """Return whether the server closes the connection, without a further byte."""
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True
