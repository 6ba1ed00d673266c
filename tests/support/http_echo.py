"""A connection of the HTTP engine that echoes the parsed request, over a transport that leads nowhere."""

import asyncio
import json
import time

from fastrpc._core.exchange.request_head import RequestHead, RequestLimits
from fastrpc._core.http1.python_connection import PythonHttpConnection
from fastrpc._core.io.session import Session
from tests.support.still_transport import StillTransport

__all__ = ["EchoConnection", "HttpTalk"]

#: The longest time of any step before the test fails.
WAIT_SECONDS = 30.0


class EchoConnection(PythonHttpConnection):
    """Answers each request with its method, target and body."""

    def __init__(
        self,
        limits: RequestLimits,
        *,
        body_bytes: int = 1_000,
        answers_later: bool = False,
        milliseconds: float = 0.0,
    ) -> None:
        super().__init__(limits)
        self.milliseconds = milliseconds
        self.body_bytes = body_bytes
        self.answers_later = answers_later
        self.seen: list[tuple[str, str, bytes]] = []
        self.was_lost = False

    def on_head(self, head: RequestHead) -> int:
        return self.body_bytes

    def on_request(self, head: RequestHead, body: bytes) -> None:
        self.seen.append((head.method, head.target, body))
        until = time.perf_counter() + self.milliseconds / 1_000
        while time.perf_counter() < until:
            pass
        if not self.answers_later:
            self.answer()

    def answer(self) -> None:
        method, target, body = self.seen[-1]
        self.respond(200, [("X-Seen", json.dumps([method, target, body.decode("latin-1")]))], b"seen")

    def on_lost(self) -> None:
        self.was_lost = True


class HttpTalk:
    """One connection, to which a test gives bytes."""

    def __init__(
        self,
        limits: RequestLimits | None = None,
        *,
        body_bytes: int = 1_000,
        later: bool = False,
        milliseconds: float = 0.0,
        engine: EchoConnection | None = None,
    ) -> None:
        self.engine = engine or EchoConnection(
            limits or RequestLimits(), body_bytes=body_bytes, answers_later=later, milliseconds=milliseconds
        )
        self.transport = StillTransport()
        self.session = Session(self.engine, loop=asyncio.get_running_loop())
        self.session.connection_made(self.transport)

    def send(self, data: bytes) -> bytes:
        """Receive these bytes; return all that was sent so far."""
        with memoryview(self.session.get_buffer(len(data))) as place:
            place[: len(data)] = data
        self.session.buffer_updated(len(data))
        return self.transport.written

    async def until_seen(self, count: int) -> None:
        """Return once the given number of requests were understood."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.engine.seen) < count:
                await asyncio.sleep(0)

    async def until_answered(self, count: int) -> None:
        """Return once the given number of responses were sent."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.statuses) < count:
                await asyncio.sleep(0)

    async def until_over(self) -> None:
        """Return once the connection is closed."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.is_over:
                await asyncio.sleep(0)

    @property
    def statuses(self) -> list[int]:
        """The statuses of all responses so far."""
        lines = self.transport.written.split(b"HTTP/1.1 ")[1:]
        return [int(line[:3]) for line in lines]

    def is_held_back(self) -> bool:
        """Return whether nothing more is read."""
        return self.transport.is_paused

    @property
    def is_over(self) -> bool:
        return self.transport.is_closing()
