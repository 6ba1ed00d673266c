"""A connection of the HTTP engine that answers with what it understood, over a transport that leads nowhere."""

import asyncio
import json

from fastrpc._core.http1.connection import HttpConnection
from fastrpc._core.http1.head import RequestHead, RequestLimits
from fastrpc._core.io.session import Session
from tests.support.still_transport import StillTransport

__all__ = ["EchoConnection", "HttpTalk"]


class EchoConnection(HttpConnection):
    """Answers each request with its method, target and body."""

    def __init__(
        self, limits: RequestLimits, *, body_bytes: int = 1_000, answers_later: bool = False
    ) -> None:
        super().__init__(limits)
        self.body_bytes = body_bytes
        self.answers_later = answers_later
        self.seen: list[tuple[str, str, bytes]] = []
        self.was_lost = False

    def on_head(self, head: RequestHead) -> int:
        return self.body_bytes

    def on_request(self, head: RequestHead, body: bytes) -> None:
        self.seen.append((head.method, head.target, body))
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
        self, limits: RequestLimits | None = None, *, body_bytes: int = 1_000, later: bool = False
    ) -> None:
        self.engine = EchoConnection(limits or RequestLimits(), body_bytes=body_bytes, answers_later=later)
        self.transport = StillTransport()
        self.session = Session(self.engine, loop=asyncio.get_running_loop())
        self.session.connection_made(self.transport)

    def send(self, data: bytes) -> bytes:
        """Receive these bytes; return all that was sent so far."""
        with memoryview(self.session.get_buffer(len(data))) as place:
            place[: len(data)] = data
        self.session.buffer_updated(len(data))
        return self.transport.written

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
