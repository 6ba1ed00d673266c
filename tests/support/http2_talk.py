"""Two sides of HTTP/2 without a socket: ours with each other, or one of them with python `h2`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event as H2Event

from fastrpc._core.http2.hpack import HeaderTemplate
from fastrpc_harness.recording_http2 import RecordingHttp2

__all__ = [
    "GET",
    "HEAD",
    "HEAD_FIELDS",
    "OK",
    "REQUEST",
    "REQUEST_FIELDS",
    "Event",
    "Pair",
    "Talk",
    "client",
    "joined",
    "pair",
    "prefixed",
    "server",
    "split",
    "taken",
    "with_h2",
]

Event = tuple[Any, ...]

REQUEST_FIELDS = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/shop.v1.Orders/Get"),
    (b":authority", b"localhost"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
]
HEAD_FIELDS = [(b":status", b"200"), (b"content-type", b"application/grpc")]

#: The block of a request that changes no table.
GET = b"\x82\x86\x04\x02/a\x01\x01a"

REQUEST = HeaderTemplate(REQUEST_FIELDS)
HEAD = HeaderTemplate(HEAD_FIELDS)
OK = HeaderTemplate([(b"grpc-status", b"0")])


def client(**options: Any) -> RecordingHttp2:
    """Return a client that has sent its opening."""
    side = RecordingHttp2(is_client=True, **options)
    side.open_now()
    return side


def server(**options: Any) -> RecordingHttp2:
    """Return a server that has sent its opening."""
    side = RecordingHttp2(is_client=False, **options)
    side.open_now()
    return side


def taken(side: RecordingHttp2) -> list[Event]:
    """Return the events of a side since the last time."""
    events, side.events = side.events, []
    return joined(events)


def joined(events: Iterable[Event]) -> list[Event]:
    """Return events with the parts of DATA of a stream joined, for any division."""
    found = list[Event]()
    for event in events:
        if event[0] == "data" and found and found[-1][:2] == event[:2] and not found[-1][3]:
            event = ("data", event[1], found.pop()[2] + event[2], event[3])
        found.append(event)
    return found


def split(output: bytes) -> list[bytes]:
    """Return the frames of an output."""
    frames = list[bytes]()
    while output:
        size = 9 + int.from_bytes(output[:3], "big")
        frames.append(output[:size])
        output = output[size:]
    return frames


def prefixed(payload: bytes) -> bytes:
    """Return a gRPC message with its prefix."""
    return b"\0" + len(payload).to_bytes(4, "big") + payload


class Pair:
    """A client and a server of ours."""

    def __init__(self, client: RecordingHttp2, server: RecordingHttp2) -> None:
        self.client = client
        self.server = server

    def talk(self) -> None:
        """Carry each side's bytes to the other, until both are silent."""
        while True:
            sent, answered = self.client.take_all(), self.server.take_all()
            if not sent and not answered:
                return
            self.server.feed(sent)
            self.client.feed(answered)

    def request(self, payload: bytes = b"request", *, ends: bool = True) -> int:
        """Send a request, and return its stream."""
        id = self.client.open_one()
        self.client.head(id, template=REQUEST)
        self.client.message(id, payload, ends=ends)
        self.talk()
        return id

    def answer(self, id: int, payload: bytes = b"answer") -> None:
        """Answer a request."""
        self.server.head(id, template=HEAD)
        self.server.message(id, payload)
        self.server.trailers(id, template=OK)
        self.talk()


def pair(
    *, client_options: dict[str, int] | None = None, server_options: dict[str, int] | None = None
) -> Pair:
    """Return two sides that know each other's settings, their events aside."""
    both = Pair(client(**(client_options or {})), server(**(server_options or {})))
    both.talk()
    taken(both.client)
    taken(both.server)
    return both


SETTINGS_ACKNOWLEDGED = bytes([0, 0, 0, 4, 1, 0, 0, 0, 0])


class Talk:
    """A side of ours with python `h2` as the other one."""

    def __init__(self, side: RecordingHttp2, h2: H2Connection) -> None:
        self.side = side
        self.h2 = h2

    def talk(self) -> list[H2Event]:
        """Carry each side's bytes to the other, until both are silent; return the events of `h2`."""
        found = list[H2Event]()
        while True:
            sent, answered = self.side.take_all(), self.h2.data_to_send()
            if not sent and not answered:
                return found
            # `h2` would read bytes after an acknowledgment by the settings before it.
            before, acknowledged, behind = bytes(sent).partition(SETTINGS_ACKNOWLEDGED)
            found += self.h2.receive_data(before + acknowledged) + self.h2.receive_data(behind)
            self.side.feed(answered)


def with_h2(side: RecordingHttp2, **options: Any) -> Talk:
    """Let a side talk with `h2` that plays the other role, after their openings."""
    h2 = H2Connection(H2Configuration(client_side=not side.is_client, header_encoding=None, **options))
    h2.initiate_connection()
    both = Talk(side, h2)
    both.talk()
    taken(side)
    return both
