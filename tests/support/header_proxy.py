"""A proxy that speaks the PROXY protocol to its server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from tests.support.peer_writing import write_to

__all__ = ["header", "proxied"]


def header(host: str, port: int = 4321) -> bytes:
    """Return a header of version 1 for a peer."""
    family = "TCP6" if ":" in host else "TCP4"
    ours = "::1" if ":" in host else "127.0.0.1"
    return f"PROXY {family} {host} {ours} {port} 8972\r\n".encode()


@contextlib.asynccontextmanager
async def proxied(target: str, first: bytes, *, cut: int | None = None) -> AsyncIterator[str]:
    """Carry connections to a server, with these bytes before each; return where."""
    scheme, _, place = target.partition("://")
    host, _, port = place.rpartition(":")
    carrying: set[asyncio.Task[Any]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                write_to(writer, data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        if cut is None:
            # With the first bytes of the client in one piece.
            write_to(there_writer, first + await reader.read(65_536))
        else:
            for start in range(0, len(first), cut):
                write_to(there_writer, first[start : start + cut])
                await there_writer.drain()
                await asyncio.sleep(0)
        tasks = [
            asyncio.ensure_future(carry(reader, there_writer)),
            asyncio.ensure_future(carry(there_reader, writer)),
        ]
        carrying.update(tasks)
        await asyncio.gather(*tasks)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in carrying:
            task.cancel()
