"""From heads and DATA to calls: unknown methods, and the ends of requests."""

from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Limits, Status
from fastrpc.auth import Identity, StaticTokens
from tests.support.grpc_peer import message, served_grpc
from tests.support.late_verdicts import Later
from tests.support.raw_methods import Raw

ECHO, WAIT, TOTAL = (f"/test.v1.Raw/{name}" for name in ("echo", "wait", "total"))
TOKENS = StaticTokens({"secret": Identity("ada")})
BEARER = [("authorization", "Bearer secret")]
WEB = HTTP(grpc_web=True, connect=True)


@fastrpc.service("test.v1.Raw")
class Other:
    """A service that has the name of `Raw` after it."""

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        return b"other"


@pytest.mark.parametrize("fields", [BEARER, [("authorization", "Bearer wrong")]])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/grpc", message(b"abc")),
        ("application/grpc", message(bytes(30_000))[:20_000]),
        ("application/grpc", b"\x07\0\0\0\x01"),
        ("application/grpc-web-text", b"%%%%"),
    ],
)
async def test_messages_of_an_unknown_method_are_dropped_until_its_verdict(
    kind: str, body: bytes, fields: Any
) -> None:
    later = Later()
    async with served_grpc(Raw(), authenticate=later, http=WEB) as link:
        streams = [link.open("/test.v1.Raw/nothere", fields, kind=kind) for _ in range(2)]
        for stream in streams:
            link.send(stream, body)
            await link.talk()
        link.send(streams[0], b"", ends=True)
        link.h2.send_headers(streams[1], [("late", "yes")], end_stream=True)
        neighbour = link.request(ECHO, b"x", BEARER)
        await link.talk()
        assert not any(answer.is_over for answer in link.answers.values())
        later.go_on.set()
        assert (await link.end(neighbour)).messages == [b"x"]
        for stream in streams:
            answer = await link.end(stream)
            if kind == "application/grpc":
                assert answer.status == (
                    Status.PERMISSION_DENIED if fields is BEARER else Status.UNAUTHENTICATED
                )
        # The credit of the dropped bytes is returned.
        await link.talk()
        assert link.h2.outbound_flow_control_window > 16_000_000


async def test_a_cancel_before_the_request_is_whole_starts_nothing() -> None:
    raw = Raw()
    async with served_grpc(raw) as link:
        stream = link.open(ECHO)
        link.send(stream, message(b"hello")[:5])
        link.reset(stream)
        await link.talk()
        assert (raw.started, link.gate.totals()["refused"]) == (0, 1)


async def test_a_cancel_in_one_read_with_its_call_finds_the_handler() -> None:
    raw = Raw()
    async with served_grpc(raw) as link:
        stream = link.request(WAIT, b"x")
        link.reset(stream)
        await link.talk()
        assert (raw.started, raw.cancelled) == (1, 1)
        assert raw.calls[0].cancelled


async def test_a_request_goes_to_the_service_that_exists_once_it_is_whole() -> None:
    async with served_grpc(Raw()) as link:
        early, late = link.open(ECHO), link.open(ECHO)
        await link.talk()
        await link.server.remove("test.v1.Raw")
        link.send(early, message(b"x"), ends=True)
        assert (await link.end(early)).status == Status.UNAVAILABLE
        link.server.add(Other())
        link.send(late, message(b"x"), ends=True)
        assert (await link.end(late)).messages == [b"other"]


async def test_streams_are_counted_until_they_are_over() -> None:
    async with served_grpc(Raw(), limits=Limits(streams=1)) as link:
        for _ in range(3):
            stream = link.open(TOTAL)
            await link.talk()
            assert (await link.end(link.open(TOTAL))).reset == 7
            link.reset(stream)
            await link.talk()
        assert (await link.end(link.open(TOTAL, ends=True))).messages == [b"0"]
