"""Requests that are refused for their form count with the status that their callers got."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fastrpc import Address, Status
from fastrpc._core.base.histogram import default_registry
from tests.support.every_way import MESSAGE_BYTES, every_way
from tests.support.grpc_peer import grpc_peer, message
from tests.support.http2_client import http2_client
from tests.support.http_talk import HttpClient
from tests.support.http_versions import http_client
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


#: Requests that HTTP refuses before a call: body, fields, the HTTP status; the method and the status that are counted.
REFUSED_BY_HTTP: dict[str, tuple[Any, dict[str, str], int, str, Status]] = {
    "a body that is too long": (
        {"text": "x" * MESSAGE_BYTES},
        {},
        413,
        "ways.echo",
        Status.RESOURCE_EXHAUSTED,
    ),
    "another host": ({"text": "a"}, {"Host": "evil.example"}, 421, "_other", Status.INVALID_ARGUMENT),
    "a foreign page": (
        {"text": "a"},
        {"Origin": "https://evil.example"},
        403,
        "_other",
        Status.PERMISSION_DENIED,
    ),
}


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("case", REFUSED_BY_HTTP)
async def test_a_request_that_http_refuses_counts_as_a_call(version: str, case: str) -> None:
    body, fields, told, method, status = REFUSED_BY_HTTP[case]

    def calls() -> Counter[str]:
        return Counter(default_registry.counters(method, "server", "http").snapshot()["calls"])

    before = calls()
    async with every_way() as served, http_client(version, served.address) as client:
        async with asyncio.timeout(20):
            answer = await client.post("/ways/echo", body, Content_Type="application/json", **fields)
        assert answer.status == told
    assert calls() - before == {status.name: 1}
