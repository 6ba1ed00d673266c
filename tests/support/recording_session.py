"""A session that records the calls of its transport."""

import asyncio
from collections.abc import Callable
from typing import cast

__all__ = ["RecordingSession", "Sessions"]


class RecordingSession(asyncio.BufferedProtocol):
    """Records every callback: `received` holds all bytes, `events` the names of the other callbacks in order."""

    def __init__(self, *, buffer_bytes: int = 65_536, keep_open: bool = False) -> None:
        self.events: list[str] = []
        self.received = bytearray()
        self.reads: list[int] = []
        self.loss: Exception | None = None
        self.transport: asyncio.Transport
        self.on_bytes: Callable[[bytes], None] = lambda chunk: None
        self._keep_open = keep_open
        self._block = bytearray(buffer_bytes)
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._record("made")

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._block)

    def buffer_updated(self, nbytes: int) -> None:
        chunk = bytes(self._block[:nbytes])
        self.received += chunk
        self.reads.append(nbytes)
        self._changed.set()
        self.on_bytes(chunk)

    def eof_received(self) -> bool:
        self._record("eof")
        return self._keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.loss = exc
        self._record("lost")

    def pause_writing(self) -> None:
        self._record("pause")

    def resume_writing(self) -> None:
        self._record("resume")

    def _record(self, event: str) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a callback makes the condition true; at most ten seconds."""
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_event(self, event: str) -> None:
        """Wait until a callback of this name came."""
        await self.until(lambda: event in self.events)

    async def until_received(self, size: int) -> None:
        """Wait until this many bytes came in all."""
        await self.until(lambda: len(self.received) >= size)


class Sessions:
    """A session factory that keeps its sessions."""

    def __init__(self, make: Callable[[], RecordingSession] = RecordingSession) -> None:
        self.made: list[RecordingSession] = []
        self._make = make
        self._changed = asyncio.Event()

    def __call__(self) -> RecordingSession:
        session = self._make()
        self.made.append(session)
        self._changed.set()
        return session

    async def one(self, index: int = 0) -> RecordingSession:
        """Wait for the session of this number and for its connection."""
        async with asyncio.timeout(10):
            while len(self.made) <= index:
                self._changed.clear()
                await self._changed.wait()
        await self.made[index].until_event("made")
        return self.made[index]
