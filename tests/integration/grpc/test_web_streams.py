"""gRPC-Web and Connect by streams of HTTP/2: on one connection with gRPC, in both directions."""

import asyncio
import json

import pytest
from h2.errors import ErrorCodes

from fastrpc import HTTP, Server, ServerConfig
from fastrpc._core.base.histogram import default_registry
from tests.support.grpc_peer import GrpcPeer, grpc_peer
from tests.support.waiting import eventually
from tests.support.web_talk import Orders, enveloped, frames, serving

pytestmark = pytest.mark.one_loop

SHOW, BOTH, WAIT = (f"/shop.v1.Orders/{name}" for name in ("Show", "Both", "Wait"))
STREAM = "application/connect+json"
WEB = HTTP(connect=True, grpc_web=True)


async def test_a_stream_goes_both_ways_at_once() -> None:
    async with serving(version="2") as client:
        peer: GrpcPeer = client.peer
        stream = peer.open(BOTH, kind=STREAM)
        answer = peer.answers[stream]
        for number in range(1, 4):
            peer.send(stream, enveloped({"value": number}))
            await eventually(lambda number=number: len(frames_so_far(answer.data)) == number)
            assert json.loads(frames_so_far(answer.data)[-1]) == {"value": str(2 * number)}
        peer.send(stream, b"", ends=True)
        assert frames((await peer.end(stream)).data)[-1] == (2, b"{}")


def frames_so_far(data: bytes) -> list[bytes]:
    """Return the contents of the frames that are whole."""
    found = []
    while len(data) >= 5 and len(data) >= (end := 5 + int.from_bytes(data[1:5], "big")):
        found.append(data[5:end])
        data = data[end:]
    return found


async def test_calls_of_three_protocols_share_a_connection() -> None:
    async with serving(version="2") as client:
        peer: GrpcPeer = client.peer
        method = "shop.v1.orders.wait"
        before = {name: in_flight(method, name) for name in ("grpc", "connect", "grpc_web")}
        waiting = [
            peer.request(WAIT, b""),
            peer.open(WAIT, kind="application/proto", ends=True),
            peer.request(WAIT, b"", kind="application/grpc-web+proto"),
        ]
        for name in before:
            await eventually(lambda name=name: in_flight(method, name) == before[name] + 1)
        shown = {
            "grpc": await peer.call(SHOW, b""),
            "connect": await peer.end(peer.open(SHOW, kind="application/proto", ends=True)),
            "grpc_web": await peer.call(SHOW, b"", kind="application/grpc-web"),
        }
        for name, answer in shown.items():
            assert name.encode() in answer.data, answer
        for stream in waiting:
            assert not peer.answers[stream].is_over
            peer.reset(stream)


def in_flight(method: str, protocol: str) -> int:
    return default_registry.counters(method, "server", protocol).in_flight


async def test_a_reset_cancels_the_handler() -> None:
    orders = Orders()
    async with serving(orders, version="2") as client:
        stream = client.begin("POST", WAIT, ends=True, Content_Type="application/proto")
        await orders.started.wait()
        client.peer.reset(stream)
        await orders.cancelled.wait()


async def test_a_server_that_leaves_answers_running_calls() -> None:
    orders = Orders()
    async with Server(orders, config=ServerConfig(protocols=("grpc",), http=WEB)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with grpc_peer(address) as peer:
            stream = peer.open(BOTH, kind=STREAM)
            peer.send(stream, enveloped({"value": 1}))
            await eventually(lambda: peer.answers[stream].data)
            closing = asyncio.create_task(server.drain())
            await eventually(lambda: peer.goaways)
            peer.send(stream, enveloped({"value": 2}), ends=True)
            answer = await peer.end(stream)
            assert [json.loads(part) for flags, part in frames(answer.data) if flags == 0] == [
                {"value": "2"},
                {"value": "4"},
            ]
            await closing
            assert peer.goaways[-1][1] == ErrorCodes.NO_ERROR
