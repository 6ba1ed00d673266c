"""The memory transport between two loops in two threads."""

import asyncio
import gc
import random
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

import pytest

from fastrpc.endpoint import Address
from fastrpc.errors import ConnectError
from fastrpc.transports.base import DialOptions, ListenOptions
from fastrpc.transports.memory import TRANSPORT, MemoryListener
from tests.support.recording_session import RecordingSession, Sessions

ADDRESS = Address("memory", path="threads")


class OtherThread:
    """A loop that runs in a separate thread."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop
        started: Future[None] = Future()
        factory = type(asyncio.get_running_loop())
        self._thread = threading.Thread(target=self._run, args=(factory, started))
        self._thread.start()
        started.result(10)

    def _run(self, factory: Any, started: "Future[None]") -> None:
        self.loop = factory()
        self.loop.call_soon(started.set_result, None)
        self.loop.run_forever()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    async def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        async with asyncio.timeout(20):
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)


class Pump(RecordingSession):
    """Writes pieces of random size as fast as flow control lets it, then ends its stream."""

    def start(self, seed: int, size: int) -> None:
        self._chance = random.Random(seed)
        self._left = size
        self._may_write = True
        self.transport.set_write_buffer_limits(high=10_000)
        self.pump()

    def pump(self) -> None:
        while self._may_write and self._left:
            piece = self._chance.randbytes(min(self._left, self._chance.randrange(1, 9_000)))
            self._left -= len(piece)
            self.transport.write(piece)
        if not self._left:
            self.transport.write_eof()

    @property
    def is_done(self) -> bool:
        """Whether everything was written."""
        return not self._left

    def pause_writing(self) -> None:
        super().pause_writing()
        self._may_write = False

    def resume_writing(self) -> None:
        super().resume_writing()
        self._may_write = True
        self.pump()


def pumped(seed: int, size: int) -> bytes:
    chance, left, pieces = random.Random(seed), size, []
    while left:
        pieces.append(chance.randbytes(min(left, chance.randrange(1, 9_000))))
        left -= len(pieces[-1])
    return b"".join(pieces)


async def test_two_loops_in_two_threads_exchange_everything_in_order() -> None:
    size = 3_000_000
    other = OtherThread()
    sessions: Sessions

    async def listen() -> MemoryListener:
        nonlocal sessions
        sessions = Sessions(lambda: Pump(buffer_bytes=7_000, keep_open=True))
        return await TRANSPORT.listen(ADDRESS, sessions, ListenOptions())

    async def serve() -> bytes:
        far = await sessions.one()
        assert isinstance(far, Pump)
        far.start(1, size)
        await far.until_received(size)
        await far.until_event("eof")
        assert "resume" in far.events
        # Its own direction may be slower, and unwritten bytes at the close never leave.
        await far.until(lambda: far.is_done)
        far.transport.close()
        await far.until_event("lost")
        return bytes(far.received)

    listener = await other.do(listen())
    _, near = await TRANSPORT.dial(ADDRESS, lambda: Pump(buffer_bytes=5_000, keep_open=True), DialOptions())
    near.start(2, size)
    received = await other.do(serve())
    await near.until_received(size)
    await near.until_event("eof")
    assert received == pumped(2, size)
    assert bytes(near.received) == pumped(1, size)
    assert near.events.count("pause") == near.events.count("resume")
    near.transport.close()
    await near.until_event("lost")
    other.loop.call_soon_threadsafe(listener.close)
    other.end()


async def test_many_connections_open_and_close_across_threads(scale: Any) -> None:
    other = OtherThread()

    class Echo(RecordingSession):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.transport.write(bytes(self.received[-nbytes:]))

    async def listen() -> MemoryListener:
        return await TRANSPORT.listen(ADDRESS, Echo, ListenOptions())

    async def visit(number: int) -> None:
        _, session = await TRANSPORT.dial(ADDRESS, RecordingSession, DialOptions())
        text = f"visit {number}".encode()
        session.transport.write(text)
        await session.until_received(len(text))
        assert bytes(session.received) == text
        (session.transport.close if number % 3 else session.transport.abort)()
        await session.until_event("lost")
        assert session.loss is None

    listener = await other.do(listen())
    for start in range(0, scale(1_000), 50):
        await asyncio.gather(*(visit(number) for number in range(start, start + 50)))
    other.loop.call_soon_threadsafe(listener.close)
    other.end()


async def test_peer_with_a_closed_loop_is_a_reset() -> None:
    other = OtherThread()

    async def listen() -> MemoryListener:
        return await TRANSPORT.listen(ADDRESS, asyncio.BufferedProtocol, ListenOptions())

    await other.do(listen())
    _, near = await TRANSPORT.dial(ADDRESS, RecordingSession, DialOptions())
    other.end()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        near.transport.write(b"x")
        await near.until_event("lost")
        gc.collect()
    assert isinstance(near.loss, ConnectionResetError)
    with pytest.raises(ConnectError):
        await TRANSPORT.dial(ADDRESS, RecordingSession, DialOptions())
