"""Calls whose answers end before their requests: they are incomplete no longer, and nothing answers them again."""

from collections.abc import AsyncIterator

import pytest
from h2.events import ResponseReceived
from h2.settings import SettingCodes

import fastrpc
from fastrpc import HTTP, Keepalive, Status, Timeouts
from tests.support.grpc_peer import ServedGrpc, message, served_grpc
from tests.support.late_verdicts import Later
from tests.support.raw_methods import Raw

WEB = HTTP(grpc_web=True, connect=True)
ECHO = "/test.v1.Raw/echo"
PATIENT = Keepalive(interval=None, timeout=80_000)
ENDLESS = Timeouts(handshake=None, idle=None)
GRPC_WEB, CONNECT, CONNECT_STREAM = (f"application/{name}" for name in ("grpc-web", "proto", "connect+proto"))
#: More than an answer that waits, and less than the record of a call.
RECORD_BYTES = 2_500
#: For each kind of a unary request: its type, the fields of its timeout, and its body in two parts.
UNARY = [
    (GRPC_WEB, [("grpc-timeout", "5S")], (message(b"abc")[:4], message(b"abc")[4:])),
    (CONNECT, [("connect-timeout-ms", "5000")], (b"a", b"bc")),
]


@fastrpc.service("test.v1.Early")
class Early:
    """A method whose answer waits for nothing."""

    def __init__(self) -> None:
        self.ended = 0

    @fastrpc.method(codec="raw")
    async def total(self, parts: AsyncIterator[bytes]) -> bytes:
        self.ended += 1
        return b"early"


async def close_windows(link: ServedGrpc) -> None:
    """Let the answers of further streams wait for their windows."""
    link.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    await link.talk()


async def open_windows(link: ServedGrpc) -> None:
    link.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
    await link.talk()


def heads_of(link: ServedGrpc, stream: int) -> int:
    return sum(isinstance(event, ResponseReceived) and event.stream_id == stream for event in link.events)


@pytest.mark.parametrize(("kind", "timeout", "parts"), UNARY)
async def test_a_late_call_is_refused_once_and_does_not_start(
    kind: str, timeout: list[tuple[str, str]], parts: tuple[bytes, bytes]
) -> None:
    raw = Raw()
    async with served_grpc(raw, http=WEB, keepalive=PATIENT, timeouts=ENDLESS) as link:
        await close_windows(link)
        stream = link.open(ECHO, timeout, kind=kind)
        link.send(stream, parts[0])
        await link.talk()
        assert link.engine.connection.held_bytes > RECORD_BYTES
        for seconds in (6, 7, 8):
            link.look(seconds)
            await link.talk()
        assert link.gate.totals()["refused"] == 1
        # The received part is freed, the answer waits.
        assert link.engine.connection.held_bytes < RECORD_BYTES
        link.send(stream, parts[1], ends=True)
        await link.talk()
        await open_windows(link)
        answer = await link.end(stream)
        assert (heads_of(link, stream), answer.trailers, raw.started) == (1, None, 0)
        assert answer.data.count(b"deadline") + answer.data.count(b"grpc-status: 4") == 2
        assert not link.is_over


async def test_a_reset_after_an_answer_by_http_refuses_no_call() -> None:
    async with served_grpc(Raw(), http=WEB) as link:
        await close_windows(link)
        stream = link.open(ECHO, method="PUT")
        await link.talk()
        assert link.answers[stream].head[":status"] == "405"
        link.reset(stream)
        await link.talk()
        assert (link.gate.totals()["refused"], link.is_over) == (0, False)


async def test_a_call_of_another_form_has_one_answer() -> None:
    async with served_grpc(Raw(), http=WEB) as link:
        await close_windows(link)
        # The method gives a stream, for which Connect has another type.
        stream = link.open("/test.v1.Raw/count", [("content-length", "2")], kind=CONNECT)
        link.send(stream, b"1")
        await link.talk()
        assert link.answers[stream].head[":status"] == "415"
        link.send(stream, b"2")
        link.send(stream, b"", ends=True)
        await link.talk()
        await open_windows(link)
        await link.end(stream)
        assert (heads_of(link, stream), link.gate.totals()["refused"], link.is_over) == (1, 1, False)


@pytest.mark.parametrize(("kind", "ends"), [(GRPC_WEB, b"grpc-status"), (CONNECT_STREAM, b"{"), (None, b"")])
async def test_a_faulty_remainder_after_an_answer_adds_no_end(kind: str | None, ends: bytes) -> None:
    early = Early()
    async with served_grpc(early, http=WEB) as link:
        await close_windows(link)
        stream = link.open("/test.v1.Early/total", kind=kind or "application/grpc")
        await link.talk()
        assert early.ended == 1
        link.send(stream, message(b"abc")[:3])
        link.send(stream, b"", ends=True)
        await link.talk()
        await open_windows(link)
        answer = await link.end(stream)
        assert answer.messages[0] == b"early"
        assert (
            (len(answer.messages), answer.data.count(ends)) == (2, 1) if kind else answer.status == Status.OK
        )


async def test_the_remainder_after_a_refusal_keeps_no_window() -> None:
    async with served_grpc(Raw(), http=WEB) as link:
        await close_windows(link)
        stream = link.open("/test.v1.Raw/count", [("content-length", "480000")], kind=CONNECT)
        for _ in range(40):
            link.send(stream, bytes(12_000))
            await link.talk()
        assert (heads_of(link, stream), link.answers[stream].is_over) == (1, False)


async def test_a_verdict_after_a_refusal_starts_nothing() -> None:
    later, raw = Later(), Raw()
    async with served_grpc(raw, authenticate=later, http=WEB, keepalive=PATIENT, timeouts=ENDLESS) as link:
        await close_windows(link)
        kind, timeout, parts = UNARY[1]
        stream = link.open(ECHO, [*timeout, ("authorization", "Bearer secret")], kind=kind)
        link.send(stream, parts[0])
        await link.talk()
        assert later.asked == 1
        link.look(6)
        await link.talk()
        link.send(stream, parts[1], ends=True)
        later.go_on.set()
        await open_windows(link)
        answer = await link.end(stream)
        assert (answer.head[":status"], heads_of(link, stream), raw.started) == ("504", 1, 0)
        assert link.gate.totals()["refused"] == 1
