"""The messages of native calls leave in order, and nowhere once their connection is gone."""

import asyncio
from typing import Any

from fastrpc._core.io.session import Session
from tests.support.feed import Feed
from tests.support.kept_connection import gate_for
from tests.support.waiting import eventually
from tests.support.wire_frames import Data, Request, Response
from tests.support.wire_layout import FLAG_STREAM_OUT
from tests.unit._core.io.test_receive_tail import receive
from tests.unit._core.server.test_served_calls import sent, serving_stream


def call(stream: Session, method: bytes, arguments: bytes) -> None:
    """Let the peer call a method whose answer is a stream, outside of any task."""
    request = Request(2, method, arguments, codec=1, flags=FLAG_STREAM_OUT)
    asyncio.get_running_loop().call_soon(receive, stream, request.encode())


def of_kind(kind: type[Any], transport: Any) -> list[Any]:
    return [frame for frame in sent(transport) if isinstance(frame, kind)]


async def test_messages_of_a_handler_leave_in_order_ahead_of_the_answer() -> None:
    async with gate_for(Feed) as gate:
        stream, transport, _ = serving_stream(gate)
        call(stream, b"feed.count", b"\x91\x03")
        await eventually(lambda: of_kind(Response, transport))
        assert [frame.payload for frame in of_kind(Data, transport)] == [b"\x00", b"\x01", b"\x02"]
        assert isinstance(sent(transport)[-1], Response)
        stream.connection_lost(None)


async def test_messages_after_the_end_of_their_connection_are_dropped() -> None:
    feed = Feed()
    async with gate_for(feed) as gate:
        stream, transport, connection = serving_stream(gate)
        call(stream, b"feed.awaited", b"\x90")
        await eventually(lambda: of_kind(Data, transport))
        before = bytes(transport.written)
        stream.connection_lost(None)
        feed.go_on.set()
        await eventually(feed.ended.is_set)
        assert bytes(transport.written) == before
        assert (feed.ends, connection.held_bytes) == (["CancelledError"], 0)
