"""Requests that are incomplete: their senders, their memory, their rates."""

from typing import Any

import pytest

from fastrpc import Keepalive, Limits, Memory, Status, Timeouts
from fastrpc.auth import Identity, StaticTokens
from tests.support.grpc_peer import message, served_grpc
from tests.support.late_verdicts import Later
from tests.support.raw_methods import Raw
from tests.support.waiting import eventually

ECHO, WAIT, TOTAL = (f"/test.v1.Raw/{name}" for name in ("echo", "wait", "total"))
TOKENS = StaticTokens({"secret": Identity("ada")})
BEARER = [("authorization", "Bearer secret")]
PATIENT = Keepalive(interval=None, timeout=80_000)
PATIENCE = 20.0
IMPATIENT = Keepalive(interval=None, timeout=PATIENCE)
ENDLESS = Timeouts(handshake=None, idle=None)


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

    async def test_a_head_alone_is_judged_after_its_read(self) -> None:
        async with served_grpc(Raw(), authenticate=TOKENS) as link:
            assert (await link.end(link.open(ECHO))).status == Status.UNAUTHENTICATED

    async def test_a_long_request_of_a_caller_with_a_token_gets_window(self) -> None:
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
            # The remaining bytes come before the verdict.
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
    async def test_a_request_that_stalls_is_refused_alone(self) -> None:
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

    async def test_a_message_of_a_stream_that_stalls_ends_it(self) -> None:
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
