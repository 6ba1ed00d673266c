"""The promises of every layer between a transport and a session; the layer of rpcx represents all."""

import asyncio

from fastrpc import ClientConfig
from fastrpc.protocols.rpcx_client import RpcxStream, rpcx_stream
from tests.support.recording_session import RecordingSession
from tests.support.still_transport import StillTransport


def layer_of(session: object) -> RpcxStream:
    return rpcx_stream(session, ClientConfig(wire_protocol="rpcx"), asyncio.get_running_loop())  # type: ignore[arg-type]


async def test_it_knows_nothing_before_it_has_a_transport() -> None:
    layer = layer_of(RecordingSession())
    assert (layer.transport, layer.get_extra_info("peername", "unknown")) == (None, "unknown")


async def test_pauses_of_a_layer_pause_the_transport_below() -> None:
    layer, below = layer_of(RecordingSession()), StillTransport()
    layer.connection_made(below)
    for is_paused in (True, False, False):
        (layer.pause_reading if is_paused else layer.resume_reading)()
        assert below.is_paused is is_paused
    assert layer.get_extra_info("peername") == "nobody"


async def test_a_closing_transport_is_not_told_to_read() -> None:
    layer, below = layer_of(RecordingSession()), StillTransport()
    layer.connection_made(below)
    layer.pause_reading()
    below.abort()
    layer.resume_reading()
    assert below.is_paused


async def test_the_protocol_above_hears_whether_there_is_room_until_the_end() -> None:
    session = RecordingSession()
    layer = layer_of(session)
    layer.connection_made(StillTransport())
    for _ in range(2):
        layer.pause_writing()
        layer.resume_writing()
        layer.connection_lost(None)
    assert session.events == ["made", "pause", "resume", "lost"]
    assert layer.get_protocol() is None
