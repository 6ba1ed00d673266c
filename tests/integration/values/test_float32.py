"""Numbers of 32 bits, as they lie on the wire: by each protocol, both clients, both ways."""

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import pytest

import fastrpc
from fastrpc import HTTP, ClientConfig, EncodeError, Float32, ServerConfig
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.service import method_definition
from tests.support.either_client import CLIENTS, either, taken
from tests.support.http_talk import HttpClient
from tests.support.rpcx_talk import rpcx_talk
from tests.support.rpcx_vectors import recorded
from tests.support.rpcx_wire import JSON, Frame, call
from tests.support.served import served
from tests.support.socket_client import opened_socket

Narrow = Annotated[float, Float32]

PROTOCOLS = {"native": ClientConfig(), "rpcx": ClientConfig(wire_protocol="rpcx")}
ALL = ServerConfig(protocols=("native", "http", "rpcx"), http=HTTP(websocket=True))

pytestmark = pytest.mark.one_loop


def narrow(value: float) -> bytes:
    return b"\xca" + struct.pack(">f", value)


@dataclass
class Point:
    x: Narrow
    rest: list[Narrow] = field(default_factory=list)
    by_name: dict[str, Narrow] = field(default_factory=dict)
    best: Narrow | None = None


POINT = Point(0.1, [1, 2.5], {"a": 0.25})

#: A Go struct with `float32` fields on the wire.
POINT_BYTES = b"".join(
    (
        *(b"\x84\xa1x", narrow(0.1), b"\xa4rest\x92", narrow(1), narrow(2.5)),
        *(b"\xa7by_name\x81\xa1a", narrow(0.25), b"\xa4best\xc0"),
    )
)


@fastrpc.service("points")
class Points:
    @fastrpc.method
    async def seen(self, point: Point) -> bytes: ...  # type: ignore[empty-body]

    @fastrpc.method
    async def given(self) -> msgspec.Raw: ...  # type: ignore[empty-body]

    @fastrpc.method
    async def joined(self, points: AsyncIterator[Point]) -> bytes: ...  # type: ignore[empty-body]

    @fastrpc.method
    def streamed(self) -> AsyncIterator[msgspec.Raw]: ...  # type: ignore[empty-body]

    @fastrpc.method
    async def twice(self, x: Narrow, y: float) -> Narrow: ...  # type: ignore[empty-body]


@fastrpc.service("points")
class WrittenPoints:
    """The same, with arguments as they came, and results that are written in 32 bits."""

    @fastrpc.method
    async def seen(self, point: msgspec.Raw) -> bytes:
        return bytes(point)

    @fastrpc.method
    async def given(self) -> Point:
        return POINT

    @fastrpc.method
    async def joined(self, points: AsyncIterator[msgspec.Raw]) -> bytes:
        return b"".join([bytes(one) async for one in points])

    @fastrpc.method
    async def streamed(self) -> AsyncIterator[Point]:
        yield POINT
        yield POINT

    @fastrpc.method
    async def twice(self, x: Narrow, y: float) -> Narrow:
        return x * y


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", CLIENTS)
async def test_arguments_and_results_go_in_32_bits(kind: str, protocol: str) -> None:
    async with either(kind, WrittenPoints(), server_config=ALL, config=PROTOCOLS[protocol]) as client:
        assert await client.call(Points.seen, POINT) == POINT_BYTES
        assert bytes(await client.call(Points.given)) == POINT_BYTES
        assert await client.call(Points.twice, 0.5, 3.0) == 1.5
        assert await client.call(Points.twice, y=2.0, x=0.1) == struct.unpack("f", struct.pack("f", 0.2))[0]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_messages_of_streams_go_in_32_bits(kind: str) -> None:
    async with either(kind, WrittenPoints()) as client:
        async with client.open(Points.joined) as stream:
            await stream.send(POINT)
            await stream.send(POINT)
            await stream.end()
            assert await stream.receive() == POINT_BYTES * 2
        async with client.stream(Points.streamed) as stream:
            assert [bytes(one) for one in await taken(stream)] == [POINT_BYTES] * 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_number_beyond_the_range_is_refused_by_the_sender(
    kind: str, codec: str, protocol: str
) -> None:
    async with either(kind, WrittenPoints(), server_config=ALL, config=PROTOCOLS[protocol]) as client:
        sender = client.with_options(codec=codec)
        with pytest.raises(EncodeError, match=r"argument x, .* 3\.5e\+38 is beyond the range of Float32"):
            await sender.call(Points.twice, 3.5e38, 1.0)
        with pytest.raises(EncodeError, match=r"argument point, .* -1e\+300 is beyond"):
            await sender.call(Points.seen, Point(1, [-1e300]))


async def test_go_gets_and_sends_32_bits() -> None:
    @fastrpc.service("lab", rpcx="go")
    class Lab:
        @fastrpc.method
        async def half_of(self, point: Point) -> Point:
            return Point(point.x / 2, point.rest, point.by_name, point.x)

    async with served(Lab(), scheme="tcp", config=ALL) as target, rpcx_talk(target.server) as talk:
        sent = b"\x82\xa1X" + narrow(0.5) + b"\xa4Rest\x91" + narrow(0.1)
        answer = await talk.ask(Frame(path="Lab", method="HalfOf", payload=sent))
        assert answer.payload == b"".join(
            (
                *(b"\x84\xa1X", narrow(0.25), b"\xa4Rest\x91", narrow(0.1)),
                *(b"\xa6ByName\x80\xa4Best", narrow(0.5)),
            )
        )
        told = await talk.ask(call("Lab", "HalfOf", {"X": 0.2}, serialize=JSON))
        assert told.payload == b'{"X":0.1,"Rest":[],"ByName":{},"Best":0.2}'


async def test_http_and_websocket_write_32_bits() -> None:
    async with served(WrittenPoints(), scheme="tcp", config=ALL) as target:
        async with await HttpClient.to(target) as http:
            told = await http.post("/points/given", {})
            assert told.value == {"x": 0.1, "rest": [1.0, 2.5], "by_name": {"a": 0.25}, "best": None}
            told = await http.post("/points/given", b"\x80", Content_Type="application/msgpack")
            assert told.body == POINT_BYTES
        async with await HttpClient.to(target) as http:
            async with opened_socket(http, "/ws/points/given", protocols="fastrpc.msgpack") as socket:
                socket.send({})
                assert POINT_BYTES in (await socket.frame()).content


@dataclass
class Types:
    """The first numbers of Go's `Types`."""

    F32: Narrow
    F64: float


@fastrpc.service("Types")
class Recorded:
    @fastrpc.method
    async def echo(self, types: Types) -> Types: ...  # type: ignore[empty-body]


@pytest.mark.parametrize("name", ["types_msgpack", "types_msgpack_zero"])
def test_a_float32_that_was_recorded_from_go_is_written_as_it_came(name: str) -> None:
    marshal = marshal_for(method_definition(Recorded.echo), "msgpack", depth=50, items=100, by_value=True)
    for frame in (*recorded(name).requests, *recorded(name).answers):
        payload = frame.inflated()
        written = marshal.encode_result(marshal.decode_result(payload))
        assert b"\xa3F32\xca" in written
        assert written[1:] in payload
