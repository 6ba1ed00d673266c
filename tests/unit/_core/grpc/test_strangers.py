"""The credit of strangers: a first window until one call of the connection is authenticated."""

import base64
from collections.abc import AsyncIterator

import pytest

import fastrpc
from fastrpc import HTTP, Keepalive, Status
from fastrpc.auth import Identity, StaticTokens
from tests.support.grpc_peer import message, served_grpc
from tests.support.late_verdicts import Later
from tests.support.raw_methods import Raw

ECHO, TOTAL = (f"/test.v1.Raw/{name}" for name in ("echo", "total"))
TOKENS = StaticTokens({"secret": Identity("ada")})
BEARER = [("authorization", "Bearer secret")]
PATIENT = Keepalive(interval=None, timeout=80_000)

WEB = HTTP(grpc_web=True, connect=True)
OPEN_ECHO, OPEN_TOTAL = "/test.v1.Open/echo", "/test.v1.Open/total"


@fastrpc.service("test.v1.Open")
class Open:
    """Methods that need no identity."""

    @fastrpc.method(codec="raw", public=True)
    async def echo(self, data: bytes) -> bytes:
        return data

    @fastrpc.method(codec="raw", public=True)
    async def total(self, parts: AsyncIterator[bytes]) -> bytes:
        return b"%d" % sum([len(part) async for part in parts])


async def test_the_window_of_a_connection_is_full_size_once_a_caller_was_accepted() -> None:
    async with served_grpc(Raw(), authenticate=TOKENS) as link:
        assert link.h2.outbound_flow_control_window == 65_535
        assert (await link.call(ECHO, b"x")).status == Status.UNAUTHENTICATED
        assert link.h2.outbound_flow_control_window < 65_535
        assert (await link.call(ECHO, b"x", BEARER)).messages == [b"x"]
        await link.talk()
        assert link.h2.outbound_flow_control_window > 16_000_000


@pytest.mark.parametrize(
    ("kind", "path", "body"),
    [
        ("application/grpc", ECHO, message(bytes(100_000))),
        ("application/grpc", TOTAL, message(bytes(100_000))),
        ("application/grpc", TOTAL, message(bytes(1_000)) * 100),
        ("application/grpc-web+proto", ECHO, message(bytes(100_000))),
        ("application/grpc-web-text", ECHO, base64.b64encode(message(bytes(100_000)))),
        ("application/proto", ECHO, bytes(100_000)),
        ("application/connect+proto", TOTAL, message(bytes(1_000)) * 100),
    ],
)
async def test_strangers_hold_at_most_a_first_window_until_they_are_known(
    kind: str, path: str, body: bytes
) -> None:
    later, raw = Later(), Raw()
    async with served_grpc(raw, authenticate=later, http=WEB, keepalive=PATIENT) as link:
        sent = dict[int, int]()
        while (room := link.h2.outbound_flow_control_window) and len(sent) < 20:
            stream = link.open(path, BEARER, kind=kind)
            sent[stream] = min(room, 10_000)
            link.send(stream, body[: sent[stream]])
            await link.talk()
        held = link.engine.connection.held_bytes
        assert sum(sent.values()) == 65_535
        assert held <= 65_535 + len(sent) * 5_000
        assert raw.started == 0
        later.go_on.set()
        # They are accepted, and all of them end normally.
        for stream, size in sent.items():
            await link.pour(stream, body[size:])
            await link.end(stream)
        assert raw.started == len(sent)
        assert link.h2.outbound_flow_control_window > 15_000_000


async def test_refused_strangers_give_their_part_of_the_window_back() -> None:
    async with served_grpc(Raw(), authenticate=TOKENS, keepalive=PATIENT) as link:
        for _ in range(20):
            stream = link.open(ECHO)
            link.send(stream, message(bytes(100_000))[:30_000])
            assert (await link.end(stream)).status == Status.UNAUTHENTICATED
            assert link.h2.outbound_flow_control_window > 30_000


async def test_a_public_method_takes_long_requests_of_strangers() -> None:
    """From many callers, as no caller is authenticated."""
    async with served_grpc(Open(), authenticate=TOKENS, keepalive=PATIENT) as link:
        for path in (OPEN_ECHO, OPEN_TOTAL):
            stream = link.open(path)
            await link.pour(stream, message(bytes(300_000)))
            assert (await link.end(stream)).status == Status.OK


async def test_requests_count_before_their_verdict() -> None:
    """One authenticated call widens the window of the connection, for calls with other tokens too."""
    later = Later()
    async with served_grpc(Raw(), authenticate=later, keepalive=PATIENT) as link:
        later.go_on.set()
        await link.call(ECHO, b"x", BEARER)
        await link.talk()
        later.go_on.clear()
        for number in range(10):
            stream = link.open(ECHO, [("authorization", f"Bearer other-{number}")])
            link.send(stream, message(bytes(60_000))[:50_000])
        await link.talk()
        assert link.engine.connection.held_bytes >= 500_000
