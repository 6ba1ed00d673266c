"""HTTP/2: the cost of a unary exchange on a connection, for both sides, without a call or a socket.

pytest bench/micro/test_http2.py
"""

import pytest

from bench.conftest import MeasurePerCall
from fastrpc._core.http2.hpack import HeaderTemplate
from fastrpc_harness.http2_exchange import ExchangingClient, ExchangingServer, exchange

CALLS = 20_000

REQUEST = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/shop.v1.Orders/Get"),
    (b":authority", b"localhost:50051"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
    (b"user-agent", b"grpc-python-fastrpc/1.0"),
]
HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]


@pytest.mark.parametrize("deadlines", [False, True])
@pytest.mark.parametrize("in_flight", [1, 64])
def test_unary_exchange(measure_per_call: MeasurePerCall, in_flight: int, deadlines: bool) -> None:
    client = ExchangingClient(HeaderTemplate(REQUEST), bytes(32))
    server = ExchangingServer(HeaderTemplate(HEAD), HeaderTemplate([(b"grpc-status", b"0")]), bytes(32))
    measure_per_call(lambda: exchange(client, server, CALLS, in_flight, deadlines), CALLS)
    assert client.answered % CALLS == 0
