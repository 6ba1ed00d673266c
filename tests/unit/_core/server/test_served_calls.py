"""The part of a connection that serves, held by the part of a client."""

import asyncio
import gc
from typing import Any, cast

import pytest

from fastrpc import Keepalive, Timeouts
from fastrpc._core.client.client_connection import ClientConnection
from fastrpc._core.io.session import Session
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.served_calls import NativeServedConnection, serve_on
from fastrpc._core.wire.settings import usual_settings
from tests.support.frame_factory import opening
from tests.support.kept_connection import gate_for
from tests.support.shop import Shop
from tests.support.still_transport import StillTransport
from tests.support.waiting import eventually
from tests.support.wire_frames import Request, Response
from tests.support.wire_parser import Parser
from tests.unit._core.io.test_receive_tail import Owner, receive

PRICE = Request(2, b"shop.price", b"\x91\xa5apple", codec=1)


def serving_stream(gate: Gate) -> tuple[Session, StillTransport, NativeServedConnection]:
    settings = usual_settings(False)
    settings.max_calls = settings.max_streams = 10
    transport, loop = StillTransport(), asyncio.get_running_loop()
    session = ClientConnection(
        endpoint="nowhere",
        owner=Owner(),
        loop=loop,
        timeouts=Timeouts(),
        keepalive=Keepalive(),
        settings=settings,
    )
    connection = serve_on(session, gate)
    stream = Session(session, loop=loop)
    stream.connection_made(transport)
    receive(stream, opening(True))
    return stream, transport, connection


def sent(transport: StillTransport) -> list[Any]:
    parser = Parser(True, max_frame=1 << 24)
    parser.feed(transport.written)
    frames = []
    while (frame := parser.next_frame()) is not None:
        frames.append(frame)
    return frames


async def test_a_client_answers_a_call_of_its_server() -> None:
    async with gate_for(Shop) as gate:
        stream, transport, connection = serving_stream(gate)
        session = cast(ClientConnection, stream.engine)
        assert session.connection is connection
        assert connection.engine is session
        assert gate.engines == {session}
        # As loops do: outside of any task.
        asyncio.get_running_loop().call_soon(receive, stream, PRICE.encode())
        await eventually(lambda: any(isinstance(frame, Response) for frame in sent(transport)))
        (answer,) = [frame for frame in sent(transport) if isinstance(frame, Response)]
        assert (answer.id, answer.status, answer.payload) == (2, 0, b"\x05")
        stream.connection_lost(None)
        assert gate.engines == set()


async def test_a_part_is_given_once() -> None:
    async with gate_for(Shop) as gate:
        stream, _, _ = serving_stream(gate)
        with pytest.raises(RuntimeError, match="a connection serves one gate"):
            serve_on(cast(ClientConnection, stream.engine), gate)
        stream.connection_lost(None)


async def test_a_connection_outlives_its_connection() -> None:
    async with gate_for(Shop) as gate:
        stream, _, connection = serving_stream(gate)
        stream.connection_lost(None)
        del stream

        def is_gone() -> bool:
            gc.collect()
            return connection.engine is None

        # Callbacks scheduled for the connection run first.
        await eventually(is_gone)
        assert connection.return_credit() == 0
