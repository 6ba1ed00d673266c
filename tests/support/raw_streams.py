"""Streams spoken by hand, frame by frame, to a real server."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from tests.support.frame_factory import opening
from tests.support.raw_peer import RawPeer, raw_client
from tests.support.wire_frames import Data, End, Request, Response
from tests.support.wire_layout import FLAG_STREAM_IN, FLAG_STREAM_OUT

__all__ = ["BOTH_WAYS", "CLIENT_STREAM", "SERVER_STREAM", "StreamPeer", "stream_peer"]

SERVER_STREAM = FLAG_STREAM_OUT
CLIENT_STREAM = FLAG_STREAM_IN
BOTH_WAYS = FLAG_STREAM_IN | FLAG_STREAM_OUT

#: A REQUEST that states no limit of time.
NO_LIMIT = 2**64 - 1


class StreamPeer:
    """A client that opens streams and returns no credit by itself."""

    def __init__(self, peer: RawPeer) -> None:
        self.peer = peer
        self._next_id = 1

    def open(self, method: str, *arguments: Any, flags: int = SERVER_STREAM, **fields: Any) -> int:
        """Send a REQUEST; return its id."""
        call, self._next_id = self._next_id, self._next_id + 2
        fields = {"codec": 1, "timeout_us": NO_LIMIT, **fields}
        payload = fields.pop("payload", msgspec.msgpack.encode(arguments))
        self.peer.send(Request(call, method.encode(), payload, flags=flags, **fields).encode())
        return call

    def send(self, call: int, *messages: Any, end: bool = False) -> None:
        """Send messages of a stream and, if asked for, its end."""
        self.peer.send(
            *(Data(call, msgspec.msgpack.encode(message), codec=1).encode() for message in messages)
        )
        if end:
            self.peer.send(End(call).encode())

    async def next_message(self, call: int) -> Any:
        """Return the next message of a call."""
        while True:
            frame = await self.peer.next(Data)
            if frame.id == call:
                return msgspec.msgpack.decode(frame.payload)

    async def end(self, call: int) -> Response:
        """Return the RESPONSE of a call; earlier frames can be read by `messages`."""
        while True:
            for frame in self.peer.frames:
                if isinstance(frame, Response) and frame.id == call:
                    return frame
            await self.peer.next(Response)

    def messages(self, call: int) -> list[Any]:
        """Return the whole messages of a call that were read so far."""
        return [msgspec.msgpack.decode(frame.payload) for frame in self.data(call)]

    def data(self, call: int) -> list[Data]:
        return [frame for frame in self.peer.frames if isinstance(frame, Data) and frame.id == call]


@asynccontextmanager
async def stream_peer(address: str, settings: Mapping[int, Any] | None = None) -> AsyncIterator[StreamPeer]:
    """Connect to `tcp://host:port` with the opening of a client that announces the usual with changes."""
    async with raw_client(address) as peer:
        peer.send(opening(False, settings))
        yield StreamPeer(peer)
