"""The server's side of a connection that speaks gRPC: its opening, drain and end."""

import pytest

from fastrpc import Keepalive, Limits, Memory, Status, Timeouts
from fastrpc._core.server.link import Link
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.auth import Identity, StaticTokens
from tests.support.grpc_peer import message, served_grpc
from tests.support.raw_methods import Raw
from tests.support.waiting import eventually

ECHO, LARGE, WAIT, TOTAL = (f"/test.v1.Raw/{name}" for name in ("echo", "large", "wait", "total"))
PATIENT = Keepalive(interval=None, timeout=80_000)
ENDLESS = Timeouts(handshake=None, idle=None)
LAST_ID = 2**31 - 1
NO_ERROR, PROTOCOL_ERROR, CALM_DOWN = 0, 1, 11


async def test_an_opening_is_over_with_the_settings_of_the_peer() -> None:
    async with served_grpc(Raw(), keepalive=PATIENT, timeouts=Timeouts(handshake=5, idle=None)) as link:
        link.look(50)
        assert not link.is_over
        assert len(link.server._accepting.openings) == 0


async def test_a_wire_is_held_by_one_link() -> None:
    async with served_grpc(Raw()) as link:
        held = link.engine
        with pytest.raises(RuntimeError, match="a wire is held by one link"):
            Link(
                held.wire,
                gate=held.gate,
                openings=link.server._accepting.openings,
                timeouts=Timeouts(),
                keepalive=Keepalive(),
            )
        stream = link.request(ECHO, b"a")
        assert (await link.end(stream)).messages == [b"a"]


async def test_a_drain_has_two_steps_and_serves_calls_until_the_second() -> None:
    raw = Raw()
    async with served_grpc(raw, keepalive=PATIENT) as link:
        first = link.request(WAIT, b"a")
        await link.talk()
        link.engine.begin_drain(1, "the server goes")
        # Sent before the client reads of the drain.
        second = link.request(WAIT, b"b")
        await link.talk()
        assert [(last, code) for last, code, _ in link.goaways] == [(LAST_ID, NO_ERROR), (second, NO_ERROR)]
        assert not link.engine.has_drained
        raw.go_on.set()
        assert [(await link.end(stream)).messages for stream in (first, second)] == [[b"a"], [b"b"]]
        assert link.engine.has_drained
        late = link.request(WAIT, b"c")
        await link.talk()
        assert (link.answers[late].is_over, raw.started) == (False, 2)


async def test_a_drained_connection_closes_once_its_calls_are_over() -> None:
    raw = Raw()
    async with served_grpc(raw, keepalive=PATIENT, timeouts=ENDLESS) as link:
        stream = link.request(WAIT, b"a")
        await link.talk()
        link.engine.begin_drain(1)
        await link.talk()
        link.look(50)
        assert not link.is_over
        raw.go_on.set()
        await link.end(stream)
        link.look(50)
        assert link.is_over


async def test_handlers_hear_of_a_drain() -> None:
    raw = Raw()
    async with served_grpc(raw) as link:
        link.request(WAIT, b"a")
        await link.talk()
        [call] = raw.calls
        link.engine.begin_drain(1)
        await call.draining


async def test_calls_that_outlast_the_drain_are_unavailable() -> None:
    raw = Raw()
    async with served_grpc(raw) as link:
        streams = [link.request(WAIT, b"a"), link.open(TOTAL), link.open(ECHO)]
        link.send(streams[2], message(b"hello")[:5])
        await link.talk()
        link.engine.end_calls("the time is over")
        for stream in streams:
            answer = await link.end(stream)
            assert (answer.status, answer.text) == (Status.UNAVAILABLE, "the time is over")
        await eventually(lambda: raw.cancelled == 2)


async def test_a_violation_ends_the_connection_with_its_reason() -> None:
    raw = Raw()
    async with served_grpc(raw) as link:
        link.request(WAIT, b"a")
        await link.talk()
        # DATA of a stream that was never opened.
        await link.give(bytes.fromhex("000001 00 00 00000065 00"))
        link.hear(link.transport.written[link._read :])
        [(_, code, text)] = link.goaways
        assert (code, b"65" in text or b"101" in text) == (PROTOCOL_ERROR, True)
        assert link.is_over
        await eventually(lambda: raw.cancelled == 1)


async def test_a_connection_too_many_is_told_why() -> None:
    async with served_grpc(Raw(), limits=Limits(connections=1)) as link:
        other = type(link)(link.server)
        other.h2.initiate_connection()
        other.hear(other.transport.written)
        assert [(code, b"Limits.connections" in text) for _, code, text in other.goaways] == [
            (CALM_DOWN, True)
        ]
        assert (other.is_over, link.is_over) == (True, False)
        other.lose()


async def test_an_identity_by_certificate_counts_for_calls_without_a_credential() -> None:
    raw = Raw()
    tokens = StaticTokens({"secret": Identity("bob")})
    async with served_grpc(raw, authenticate=tokens) as link:
        link.prove()
        await link.call("/test.v1.Raw/look", b"")
        await link.call("/test.v1.Raw/look", b"", [("authorization", "Bearer secret")])
        assert [call[0].name for call in raw.calls] == ["ada", "bob"]
        assert (
            await link.call(ECHO, b"", [("authorization", "Bearer wrong")])
        ).status == Status.UNAUTHENTICATED


async def test_nothing_is_read_while_the_peer_takes_no_output() -> None:
    memory = Memory(send_soft=100_000)
    async with served_grpc(Raw(), memory=memory, keepalive=PATIENT, timeouts=ENDLESS) as link:
        link.transport.untaken = 200_000
        await link.call(ECHO, b"x")
        states = [link.transport.is_paused]
        link.transport.untaken = 0
        link.look(1)
        assert [*states, link.transport.is_paused] == [True, False]
        assert (await link.call(ECHO, b"x")).messages == [b"x"]


async def test_messages_that_wait_for_windows_count_as_memory_for_as_long_as_they_wait() -> None:
    waiting = 4 * 60_000 - 65_535
    keepalive = Keepalive(interval=None, timeout=1)
    async with served_grpc(Raw(), takes=False, keepalive=keepalive, timeouts=ENDLESS) as link:
        for _ in range(4):
            link.request(LARGE, b"60000")
        await link.talk()
        held = [bytes_held()]
        for seconds in (0.5, 5, 50):
            link.look(seconds)
            held.append(bytes_held())
        assert min(held) >= waiting
        # Readers of streams may take their time.
        assert not link.is_over
    assert bytes_held() == 0


async def test_its_state_is_plain_data() -> None:
    raw = Raw()
    async with served_grpc(raw) as link:
        link.request(WAIT, b"a")
        await link.talk()
        assert link.engine.stats() == {"calls": 1, "one_way": 0, "buffered": 0, "credit": 65_535}
