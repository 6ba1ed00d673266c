"""A server of gRPC by python `h2` that follows a test's script for each connection, valid by gRPC's rules or not."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.support.peer_writing import write_to

__all__ = ["Scripted", "Script", "ScriptedPeer", "echo", "scripted_grpc"]

HEAD = [(":status", "200"), ("content-type", "application/grpc")]


class ScriptedPeer:
    """One connection of a client."""

    def __init__(self, server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader, self.writer = reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.requests: asyncio.Queue[tuple[int, dict[str, str]]] = asyncio.Queue()
        #: Streams that the client reset, pings that it sent, and those that it answered.
        self.resets: list[tuple[int, int]] = []
        self.pings = 0
        self.answered_pings = 0

    async def run(self, script: Script) -> None:
        """Run the script of the connection, and read the client's bytes into it, until either ends."""
        self.h2.initiate_connection()
        if self.server.settings:
            self.h2.update_settings(self.server.settings)
        self.flush()
        reading = asyncio.ensure_future(self._read())
        running = asyncio.ensure_future(script(self))  # type: ignore[arg-type]
        try:
            await asyncio.wait((reading, running), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            for task in (reading, running):
                task.cancel()
            await asyncio.gather(reading, running, return_exceptions=True)
            self.writer.close()

    async def _read(self) -> None:
        while data := await self.reader.read(65_536):
            for event in self.h2.receive_data(data):
                self._take(event)
            self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            headers: dict[Any, Any] = dict(event.headers)
            self.server.heads.append(headers)
            self.requests.put_nowait((event.stream_id, headers))
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.resets.append((event.stream_id, event.error_code))
        elif isinstance(event, h2.events.PingReceived):
            self.pings += 1
        elif isinstance(event, h2.events.PingAckReceived):
            self.answered_pings += 1

    def flush(self) -> None:
        """Send the waiting bytes of h2."""
        write_to(self.writer, self.h2.data_to_send())

    # For scripts

    async def request(self) -> int:
        """Return the stream of the next request."""
        stream, _ = await self.requests.get()
        return stream

    def answer(self, stream: int, content: bytes = b"done") -> None:
        """Answer a call well."""
        self.h2.send_headers(stream, HEAD)
        self.h2.send_data(stream, struct.pack(">BI", 0, len(content)) + content)
        self.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
        self.flush()

    def refuse(self, stream: int, **trailers: str) -> None:
        """End a call by trailers alone; names are names of fields with `_` for `-`."""
        pairs = [(name.replace("_", "-"), value) for name, value in trailers.items()]
        self.h2.send_headers(stream, [*HEAD, *pairs], end_stream=True)
        self.flush()

    def reset(self, stream: int, code: ErrorCodes) -> None:
        """Reset a stream."""
        self.h2.reset_stream(stream, code)
        self.flush()

    def leave(self, last: int, code: ErrorCodes = ErrorCodes.NO_ERROR, debug: bytes = b"") -> None:
        """Send GOAWAY; further calls may be answered by hand after it."""
        write_to(
            self.writer,
            struct.pack(">I", 8 + len(debug))[1:]
            + b"\x07\x00\x00\x00\x00\x00"
            + struct.pack(">II", last, code)
            + debug,
        )


Script = Callable[[ScriptedPeer], Awaitable[None]]


async def echo(peer: ScriptedPeer) -> None:
    """Answer each call well."""
    while True:
        peer.answer(await peer.request())


class Scripted:
    """The server, and all that it saw."""

    def __init__(self, scripts: tuple[Script, ...], settings: dict[SettingCodes, int]) -> None:
        self.scripts = scripts
        self.settings = settings
        self.port = 0
        self.peers: list[ScriptedPeer] = []
        self.heads: list[dict[str, str]] = []
        self.tasks: set[asyncio.Task[Any]] = set()

    @property
    def target(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Run the script of a connection; all further connections run the last one."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        peer = ScriptedPeer(self, reader, writer)
        self.peers.append(peer)
        with contextlib.suppress(ConnectionError):
            await peer.run(self.scripts[min(len(self.peers), len(self.scripts)) - 1])


@contextlib.asynccontextmanager
async def scripted_grpc(
    *scripts: Script, settings: dict[SettingCodes, int] | None = None
) -> AsyncIterator[Scripted]:
    """Serve on a port of this machine."""
    server = Scripted(scripts, settings or {})
    listening = await asyncio.start_server(server.take, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        await listening.wait_closed()
