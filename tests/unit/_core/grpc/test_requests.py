"""From heads and DATA to calls: incomplete requests, their senders, their memory, their ends."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Keepalive, Limits, Memory, Status, Timeouts
from fastrpc.auth import Identity, StaticTokens
from fastrpc.auth.verdict import Answer, Presented, Refusal, Verdict
from tests.support.grpc_peer import message, served_grpc
from tests.support.raw_methods import Raw
from tests.support.waiting import eventually

ECHO, WAIT, TOTAL = (f"/test.v1.Raw/{name}" for name in ("echo", "wait", "total"))
TOKENS = StaticTokens({"secret": Identity("ada")})
BEARER = [("authorization", "Bearer secret")]
PATIENT = Keepalive(interval=None, timeout=80_000)
PATIENCE = 20.0
IMPATIENT = Keepalive(interval=None, timeout=PATIENCE)
ENDLESS = Timeouts(handshake=None, idle=None)


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


@fastrpc.service("test.v1.Raw")
class Other:
    """A service that has the name of `Raw` after it."""

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        return b"other"


class Later:
    """Accepts one token, once a test says so."""

    version = 0

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.asked = 0

    def look(self) -> None:
        pass

    def handles(self, peer: Presented) -> bool:
        return True

    async def verify(self, peer: Presented) -> Answer:
        self.asked += 1
        await self.go_on.wait()
        return Verdict(Identity("ada")) if peer.credentials == "secret" else Refusal("unknown")


class TestSenders:
    @pytest.mark.parametrize("fields", [[], [("authorization", "Bearer wrong")]])
    async def test_an_incomplete_request_of_a_stranger_is_refused_at_once(self, fields: Any) -> None:
        raw = Raw()
        async with served_grpc(raw, authenticate=TOKENS) as link:
            stream = link.open(ECHO, fields)
            link.send(stream, message(bytes(50_000))[:100])
            answer = await link.end(stream)
            assert (answer.status, raw.started) == (Status.UNAUTHENTICATED, 0)
            assert link.engine.connection.held_bytes < 20_000

    async def test_a_head_alone_is_judged_behind_its_read(self) -> None:
        async with served_grpc(Raw(), authenticate=TOKENS) as link:
            assert (await link.end(link.open(ECHO))).status == Status.UNAUTHENTICATED

    async def test_the_window_of_a_connection_is_whole_once_a_caller_was_let_in(self) -> None:
        async with served_grpc(Raw(), authenticate=TOKENS) as link:
            assert link.h2.outbound_flow_control_window == 65_535
            assert (await link.call(ECHO, b"x")).status == Status.UNAUTHENTICATED
            assert link.h2.outbound_flow_control_window < 65_535
            assert (await link.call(ECHO, b"x", BEARER)).messages == [b"x"]
            await link.talk()
            assert link.h2.outbound_flow_control_window > 16_000_000

    async def test_a_long_request_of_a_caller_with_a_token_is_let_come(self) -> None:
        async with served_grpc(Raw(), authenticate=TOKENS) as link:
            stream = link.open(ECHO, BEARER)
            link.send(stream, message(bytes(1_000_000))[:60_000])
            await link.talk()
            assert link.h2.local_flow_control_window(stream) > 900_000

    async def test_requests_wait_for_their_verdicts_side_by_side(self) -> None:
        later, raw = Later(), Raw()
        async with served_grpc(raw, authenticate=later) as link:
            good, bad = link.open(ECHO, BEARER), link.open(ECHO, [("authorization", "Bearer wrong")])
            for stream in (good, bad):
                link.send(stream, message(bytes(1_000))[:500])
            await link.talk()
            assert (later.asked, raw.started) == (2, 0)
            # The rest comes before the verdict.
            for stream in (good, bad):
                link.send(stream, message(bytes(1_000))[500:], ends=True)
            await link.talk()
            assert not link.answers[good].is_over
            later.go_on.set()
            assert (await link.end(good)).messages == [bytes(1_000)]
            assert (await link.end(bad)).status == Status.UNAUTHENTICATED

    async def test_a_verdict_may_come_first(self) -> None:
        later = Later()
        async with served_grpc(Raw(), authenticate=later) as link:
            stream = link.open(ECHO, BEARER)
            link.send(stream, message(bytes(1_000))[:500])
            await link.talk()
            later.go_on.set()
            await link.talk()
            link.send(stream, message(bytes(1_000))[500:], ends=True)
            assert (await link.end(stream)).messages == [bytes(1_000)]

    async def test_a_deadline_may_come_before_a_verdict(self) -> None:
        async with served_grpc(Raw(), authenticate=Later(), keepalive=PATIENT, timeouts=ENDLESS) as link:
            stream = link.open(ECHO, [*BEARER, ("grpc-timeout", "5S")])
            link.send(stream, message(bytes(1_000))[:500])
            await link.talk()
            link.look(4)
            await link.talk()
            assert not link.answers[stream].is_over
            link.look(6)
            answer = await link.end(stream)
            assert (answer.status, "its credential was verified" in answer.text) == (
                Status.DEADLINE_EXCEEDED,
                True,
            )

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
        self, kind: str, path: str, body: bytes
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
            # They are let in, and all of them come to their end.
            for stream, size in sent.items():
                await link.pour(stream, body[size:])
                await link.end(stream)
            assert raw.started == len(sent)
            assert link.h2.outbound_flow_control_window > 15_000_000

    async def test_refused_strangers_give_their_part_of_the_window_back(self) -> None:
        async with served_grpc(Raw(), authenticate=TOKENS, keepalive=PATIENT) as link:
            for _ in range(20):
                stream = link.open(ECHO)
                link.send(stream, message(bytes(100_000))[:30_000])
                assert (await link.end(stream)).status == Status.UNAUTHENTICATED
                assert link.h2.outbound_flow_control_window > 30_000

    async def test_a_public_method_takes_long_requests_of_strangers(self) -> None:
        """Of many, as none is authenticated."""
        async with served_grpc(Open(), authenticate=TOKENS, keepalive=PATIENT) as link:
            for path in (OPEN_ECHO, OPEN_TOTAL):
                stream = link.open(path)
                await link.pour(stream, message(bytes(300_000)))
                assert (await link.end(stream)).status == Status.OK

    async def test_requests_count_before_their_verdict(self) -> None:
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

    async def test_the_reset_of_a_judged_request_ends_it(self) -> None:
        later, raw = Later(), Raw()
        async with served_grpc(raw, authenticate=later) as link:
            stream = link.open(ECHO, BEARER)
            link.send(stream, message(bytes(1_000))[:500])
            await link.talk()
            link.reset(stream)
            await link.talk()
            later.go_on.set()
            await link.talk()
            assert (raw.started, link.engine.connection.held_bytes < 20_000) == (0, True)

    async def test_messages_of_a_stream_may_come_before_its_verdict(self) -> None:
        later = Later()
        async with served_grpc(Raw(), authenticate=later) as link:
            stream = link.open(TOTAL, BEARER)
            link.send(stream, message(b"abc") + message(b"de"), ends=True)
            await link.talk()
            assert not link.answers[stream].is_over
            later.go_on.set()
            assert (await link.end(stream)).messages == [b"5"]

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
        self, kind: str, body: bytes, fields: Any
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
            # The credit of what was dropped is there again.
            await link.talk()
            assert link.h2.outbound_flow_control_window > 16_000_000


class TestMemory:
    async def test_incomplete_requests_count_and_are_forgotten(self) -> None:
        async with served_grpc(Raw(), keepalive=PATIENT) as link:
            await link.call(ECHO, b"x")
            served = link.engine.connection
            before = served.held_bytes
            streams = [link.open(ECHO, [("key", "x" * 1_000)]) for _ in range(10)]
            await link.talk()
            # A record and the metadata of each.
            assert served.held_bytes >= before + 10 * (3_072 + 1_000)
            for stream in streams:
                link.send(stream, message(bytes(20_000))[:10_000])
            await link.talk()
            assert served.held_bytes >= before + 140_000
            for stream in streams[:5]:
                link.reset(stream)
            await link.talk()
            assert served.held_bytes < before + 80_000
            for stream in streams[5:]:
                link.send(stream, message(bytes(20_000))[10_000:], ends=True)
                assert (await link.end(stream)).messages == [bytes(20_000)]
            assert served.held_bytes < before + 10_000

    async def test_parts_of_messages_of_streams_count(self) -> None:
        async with served_grpc(Raw(), keepalive=PATIENT) as link:
            served = link.engine.connection
            stream = link.open(TOTAL)
            await link.talk()
            before = served.held_bytes
            link.send(stream, message(bytes(60_000))[:30_000])
            await link.talk()
            assert before + 29_000 <= served.held_bytes <= before + 40_000
            link.send(stream, message(bytes(60_000))[30_000:], ends=True)
            assert (await link.end(stream)).messages == [b"60000"]
            assert served.held_bytes < before

    async def test_a_request_over_the_budget_is_refused_before_it_comes(self) -> None:
        limits, memory = Limits(message_bytes=65_536), Memory(request_bytes=65_536)
        async with served_grpc(Raw(), limits=limits, memory=memory, keepalive=PATIENT) as link:
            streams = [link.open(ECHO) for _ in range(2)]
            for stream in streams:
                link.send(stream, message(bytes(40_000))[:30_000])
            await link.talk()
            assert [link.answers[stream].status for stream in streams] == [None, Status.RESOURCE_EXHAUSTED]
            link.send(streams[0], message(bytes(40_000))[30_000:], ends=True)
            assert (await link.end(streams[0])).messages == [bytes(40_000)]

    async def test_a_lost_connection_holds_nothing(self) -> None:
        raw = Raw()
        async with served_grpc(raw, keepalive=PATIENT) as link:
            link.send(link.open(ECHO), message(bytes(60_000))[:30_000])
            link.send(link.open(TOTAL), message(bytes(60_000))[:30_000])
            link.request(WAIT, b"x")
            await link.talk()
            assert raw.started == 2
            served = link.engine.connection
            link.lose()
            await eventually(lambda: raw.cancelled == 2)
            assert served.held_bytes == 0


class TestRates:
    async def test_a_request_that_does_not_go_on_is_refused_alone(self) -> None:
        async with served_grpc(Raw(), keepalive=IMPATIENT, timeouts=ENDLESS) as link:
            late, head = link.open(ECHO), link.open(ECHO)
            link.send(late, message(bytes(1_000))[:500])
            await link.talk()
            link.look(PATIENCE - 1)
            await link.talk()
            assert not link.answers[late].is_over
            link.look(PATIENCE + 2)
            for stream in (late, head):
                answer = await link.end(stream)
                assert (answer.status, "did not come in time" in answer.text) == (
                    Status.DEADLINE_EXCEEDED,
                    True,
                )
            assert (await link.call(ECHO, b"x")).messages == [b"x"]

    async def test_a_message_of_a_stream_that_does_not_go_on_ends_it(self) -> None:
        raw = Raw()
        async with served_grpc(raw, keepalive=IMPATIENT, timeouts=ENDLESS) as link:
            idle, late = link.open(TOTAL), link.open(TOTAL)
            link.send(idle, message(b"whole"))
            link.send(late, message(b"whole") + message(b"cut")[:-1])
            await link.talk()
            link.look(PATIENCE + 2)
            assert (await link.end(late)).status == Status.DEADLINE_EXCEEDED
            assert not link.answers[idle].is_over

    async def test_a_message_that_waits_for_its_window_is_not_late(self) -> None:
        """Its reader does not take the ones before it."""
        raw = Raw()
        async with served_grpc(raw, keepalive=IMPATIENT, timeouts=ENDLESS) as link:
            stream = link.open("/test.v1.Raw/both")
            link.takes = False
            data = message(bytes(50_000)) * 10
            while size := link.h2.local_flow_control_window(stream):
                link.send(stream, data[:size])
                data = data[size:]
                await link.talk()
            assert len(data) > 200_000
            link.look(PATIENCE + 2)
            await link.talk()
            assert not link.answers[stream].is_over


class TestEnds:
    async def test_a_cancel_before_the_request_is_whole_starts_nothing(self) -> None:
        raw = Raw()
        async with served_grpc(raw) as link:
            stream = link.open(ECHO)
            link.send(stream, message(b"hello")[:5])
            link.reset(stream)
            await link.talk()
            assert (raw.started, link.gate.totals()["refused"]) == (0, 1)

    async def test_a_cancel_in_one_read_with_its_call_finds_the_handler(self) -> None:
        raw = Raw()
        async with served_grpc(raw) as link:
            stream = link.request(WAIT, b"x")
            link.reset(stream)
            await link.talk()
            assert (raw.started, raw.cancelled) == (1, 1)
            assert raw.calls[0].cancelled

    async def test_a_request_goes_to_the_service_that_is_there_once_it_is_whole(self) -> None:
        async with served_grpc(Raw()) as link:
            early, late = link.open(ECHO), link.open(ECHO)
            await link.talk()
            await link.server.remove("test.v1.Raw")
            link.send(early, message(b"x"), ends=True)
            assert (await link.end(early)).status == Status.UNAVAILABLE
            link.server.add(Other())
            link.send(late, message(b"x"), ends=True)
            assert (await link.end(late)).messages == [b"other"]

    async def test_streams_are_counted_until_they_are_over(self) -> None:
        async with served_grpc(Raw(), limits=Limits(streams=1)) as link:
            for _ in range(3):
                stream = link.open(TOTAL)
                await link.talk()
                assert (await link.end(link.open(TOTAL))).reset == 7
                link.reset(stream)
                await link.talk()
            assert (await link.end(link.open(TOTAL, ends=True))).messages == [b"0"]
