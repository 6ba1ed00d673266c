"""Requests that are refused for their form count with the status that their callers got."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from fastrpc import Address, Status
from fastrpc._core.base.histogram import default_registry
from tests.support.every_way import MESSAGE_BYTES, every_way
from tests.support.grpc_peer import grpc_peer, message
from tests.support.http2_client import http2_client
from tests.support.http_talk import HttpClient
from tests.support.web_talk import trailers_of

pytestmark = pytest.mark.one_loop

PATH = "/ways/Echo"
TEXT = b"\x0a\x01a"

#: Bodies of a call that takes one message, and whether the call ends with them.
FAULTS: dict[str, tuple[bytes, bool]] = {
    "no message": (b"", True),
    "two messages": (message(TEXT) * 2, True),
    "a message that is cut": (message(TEXT)[:-1], True),
    "unknown flags": (b"\x40" + message(TEXT)[1:], True),
    "a compressed message without a compressor": (b"\x01" + message(TEXT)[1:], True),
    "a message that is too long": (b"\0" + (MESSAGE_BYTES + 1).to_bytes(4, "big") + b"x", False),
}


def counted(protocol: str) -> Counter[str]:
    """Return the calls of the method so far by status."""
    return Counter(default_registry.counters("ways.echo", "server", protocol).snapshot()["calls"])


async def by_grpc(address: Address, body: bytes, ends: bool) -> Status:
    async with grpc_peer(address) as peer:
        stream = peer.open(PATH)
        peer.send(stream, body, ends=ends)
        answer = await peer.end(stream)
    assert answer.status is not None
    return Status(answer.status)


async def by_grpc_web(address: Address, body: bytes, ends: bool) -> Status:
    async with await HttpClient.to(address) as client:
        answer = await client.post(PATH, body, Content_Type="application/grpc-web+proto")
    return Status(int(trailers_of(answer.body)["grpc-status"]))


async def by_grpc_web_over_http2(address: Address, body: bytes, ends: bool) -> Status:
    async with http2_client(address) as client:
        answer = await client.post(PATH, body, Content_Type="application/grpc-web+proto")
    return Status(int(trailers_of(answer.body)["grpc-status"]))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("protocol", "ask"),
    [("grpc", by_grpc), ("grpc_web", by_grpc_web), ("grpc_web", by_grpc_web_over_http2)],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
async def test_a_faulty_request_counts_with_the_status_that_its_caller_got(
    protocol: str, ask: Callable[[Address, bytes, bool], Awaitable[Status]], fault: str
) -> None:
    body, ends = FAULTS[fault]
    before = counted(protocol)
    async with every_way() as served:
        async with asyncio.timeout(20):
            status = await ask(served.address, body, ends)
        assert status not in (Status.OK, Status.INVALID_ARGUMENT)
        assert counted(protocol) - before == {status.name: 1}
