"""A call that came by gRPC: the objects left once it is over."""

import gc

from fastrpc._core.grpc.grpc_call import GrpcCall
from fastrpc._core.grpc.grpc_wire import GrpcWire
from fastrpc._core.grpc.requests import GrpcRequests
from fastrpc._core.http2.connection import Http2Connection
from fastrpc._core.server.link import Link
from tests.support.grpc_peer import served_grpc
from tests.support.raw_methods import Raw


async def test_the_object_of_a_call_serves_the_next_call_of_a_connection() -> None:
    raw = Raw()
    async with served_grpc(raw) as link:
        seen = set()
        for number in range(5):
            assert (await link.call("/test.v1.Raw/look", b"%d" % number)).messages == [b"%d" % number]
            raw.calls.clear()
            seen |= {id(one) for one in gc.get_objects() if type(one) is GrpcCall}
        assert len(seen) <= 2


async def test_a_call_that_is_kept_is_not_used_again() -> None:
    raw = Raw()
    async with served_grpc(raw) as link:
        for payload in (b"a", b"b"):
            await link.call("/test.v1.Raw/echo", payload)
        first, second = raw.calls
        assert first is not second
        assert (type(first), first.method, first.peer.protocol) == (GrpcCall, "test.v1.Raw.echo", "grpc")


async def test_an_engine_is_freed_with_its_stream() -> None:
    async with served_grpc(Raw()) as link:
        await link.call("/test.v1.Raw/count", b"3")
        link.request("/test.v1.Raw/wait", b"")
        await link.talk()
        link.lose()
        link.engine = link.session = None
        link.session = Gone()
        gc.collect()
        parts = {GrpcWire, GrpcRequests, Http2Connection, Link}
        assert [one for one in gc.get_objects() if type(one) in parts] == []


class Gone:
    transport = None
