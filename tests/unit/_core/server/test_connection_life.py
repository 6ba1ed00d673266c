"""The life of a served connection alone: facts and times go in, orders and the next instant to look come out."""

from collections.abc import Iterator
from typing import Any

import pytest

from fastrpc import Limits, ServerConfig
from fastrpc.auth import Identity, StaticTokens
from fastrpc.config import Keepalive, Timeouts
from fastrpc_harness.living import LivedConnection, LivedEngine
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop

SECOND = 1_000_000_000
START = 100 * SECOND
#: PROTOCOL.md 3.4.
DRAIN, MAX_AGE, HANDSHAKE = 0, 1, 12
TOKENS = StaticTokens({"secret": Identity("anna")})
NO_TIMEOUTS = Timeouts(handshake=None, idle=None, drain=None, linger=None)
#: Longer than any of these tests.
PATIENT = Keepalive(interval=None, timeout=80_000)


def lived(timeouts: Timeouts = NO_TIMEOUTS, keepalive: Keepalive = PATIENT, **options: Any) -> LivedEngine:
    """Return an engine whose life began at START."""
    engine = LivedEngine()
    engine.live_by(timeouts, keepalive, **options)
    engine.begin(START)
    return engine


def ends(engine: LivedEngine, first: int, last: int) -> int | None:
    """Look each second; return the one, from the start, that brought an order."""
    for second in range(first, last):
        engine.look(START + second * SECOND)
        if engine.orders:
            return second
    return None


def test_a_connection_without_rules_lives_on() -> None:
    engine = LivedEngine()
    assert engine.begin(START) == 0
    assert engine.look(START + 10**9 * SECOND) == 0
    assert engine.orders == []


class TestOpening:
    def test_an_opening_that_takes_too_long_ends_the_connection(self) -> None:
        engine = lived(Timeouts(handshake=5))
        assert engine.look(START + 4 * SECOND) == START + 5 * SECOND
        engine.look(START + 5 * SECOND)
        assert engine.orders == [("close", HANDSHAKE)]

    def test_a_peer_that_is_through_its_opening_stays(self) -> None:
        engine = lived(Timeouts(handshake=5))
        engine.opened()
        assert ends(engine, 0, 100) is None


class TestAge:
    def test_the_age_drains_and_the_time_for_calls_ends_them(self) -> None:
        engine = lived(Timeouts(handshake=None, drain=30), Keepalive(timeout=80_000, max_age=100))
        engine.is_busy = True
        aged = ends(engine, 80, 120)
        assert aged is not None
        assert 90 <= aged <= 111
        assert engine.orders == [("begin_drain", MAX_AGE)]
        for second in range(aged, aged + 31):
            engine.look(START + second * SECOND)
        text = "the time for calls to finish is over (Timeouts.drain)"
        assert engine.orders == [("begin_drain", MAX_AGE), ("end_calls", text), ("close", DRAIN)]

    def test_connections_made_together_reach_it_at_different_times(self) -> None:
        found = {ends(lived(keepalive=Keepalive(timeout=80_000, max_age=100)), 80, 120) for _ in range(40)}
        assert len(found) > 5
        assert all(one is not None and 90 <= one <= 111 for one in found)

    def test_calls_have_all_time_where_a_drain_has_no_limit(self) -> None:
        engine = lived(keepalive=Keepalive(timeout=80_000, max_age=100))
        engine.is_busy = True
        engine.look(START + 111 * SECOND)
        engine.look(START + 10_000 * SECOND)
        assert engine.orders == [("begin_drain", MAX_AGE)]

    @pytest.mark.parametrize("is_busy", [True, False])
    def test_a_protocol_that_closes_by_answers_ends_calls_alone(self, is_busy: bool) -> None:
        keepalive = Keepalive(timeout=80_000, max_age=100)
        engine = lived(Timeouts(handshake=None, drain=30), keepalive, closes_by_answers=True)
        engine.is_busy = is_busy
        engine.below.is_unread = True
        engine.look(START + 111 * SECOND)
        engine.is_busy = True
        engine.look(START + 150 * SECOND)
        assert [order[0] for order in engine.orders] == ["begin_drain", "end_calls"][: 1 + is_busy]


class TestDrain:
    def test_a_connection_that_drains_closes_a_second_after_its_last_call(self) -> None:
        engine = lived()
        engine.drains()
        engine.used(START + 5 * SECOND)
        assert engine.look(START + 5 * SECOND) == START + 6 * SECOND
        assert ends(engine, 5, 10) == 6
        assert engine.orders == [("close", DRAIN)]

    def test_a_last_call_that_may_be_under_way_is_waited_for(self) -> None:
        engine = lived()
        engine.drains(START + 8 * SECOND)
        assert ends(engine, 5, 10) == 8

    @pytest.mark.parametrize("fact", ["is_busy", "is_receiving", "unsent"])
    def test_nothing_closes_while_something_is_under_way(self, fact: str) -> None:
        engine = lived()
        engine.drains()
        setattr(engine, fact, 1)
        engine.began_ns = engine.heard_ns = START
        assert ends(engine, 5, 10) is None
        setattr(engine, fact, 0)
        assert ends(engine, 10, 12) == 10

    def test_a_call_that_was_not_read_is_looked_for_soon(self) -> None:
        engine = lived()
        engine.drains()
        engine.below.is_unread = True
        assert engine.look(START + 5 * SECOND) == START + 5 * SECOND + SECOND // 20
        assert engine.orders == []


class TestRest:
    def test_a_connection_without_calls_is_closed(self) -> None:
        engine = lived(Timeouts(handshake=None, idle=60))
        engine.used(START + 10 * SECOND)
        assert ends(engine, 20, 100) == 70
        assert engine.orders == [("close", DRAIN)]

    @pytest.mark.parametrize("fact", ["is_busy", "is_receiving", "unsent"])
    def test_a_connection_with_work_under_way_is_not_at_rest(self, fact: str) -> None:
        engine = lived(Timeouts(handshake=None, idle=60))
        setattr(engine, fact, 1)
        engine.began_ns = engine.heard_ns = START
        assert ends(engine, 60, 100) is None

    def test_the_end_of_a_rest_has_its_own_check(self) -> None:
        engine = LivedEngine()
        engine.live_by(Timeouts(handshake=5, idle=1), Keepalive(interval=10, timeout=10))
        assert engine.begin(START) == START + SECOND
        engine.is_busy = True
        assert engine.look(START + SECOND) == START + 2 * SECOND
        engine.is_busy = False
        engine.used(START + 3 * SECOND // 2)
        assert engine.look(START + 2 * SECOND) == START + 5 * SECOND // 2
        engine.look(START + 5 * SECOND // 2)
        assert engine.orders == [("close", DRAIN)]

    def test_a_connection_that_drains_at_rest_is_closed_after_its_drain(self) -> None:
        engine = lived(Timeouts(handshake=None, idle=60), drains_at_rest=True)
        assert ends(engine, 50, 100) == 60
        assert engine.orders == [("begin_drain", DRAIN)]
        engine.look(START + 62 * SECOND)
        assert [order[0] for order in engine.orders[1:]] == ["end_calls", "close"]

    def test_a_use_between_two_looks_puts_the_rest_off(self) -> None:
        engine = lived(Timeouts(handshake=None, idle=60), drains_at_rest=True)
        engine.look_at_busy(START + 15 * SECOND, True)
        for second in (30, 45, 60, 74):
            assert engine.look_at_busy(START + second * SECOND, False) <= START + (second + 15) * SECOND
        assert engine.orders == []
        engine.look_at_busy(START + 75 * SECOND, False)
        assert engine.orders == [("begin_drain", DRAIN)]

    def test_a_connection_with_other_rules_for_output_rests_beside_it(self) -> None:
        engine = lived(Timeouts(handshake=None, idle=60), drains_at_rest=True)
        engine.unsent = 100
        engine.look_at_busy(START + 60 * SECOND, False)
        assert engine.orders == [("begin_drain", DRAIN)]

    def test_a_call_that_was_not_read_is_looked_for_soon(self) -> None:
        engine = lived(Timeouts(handshake=None, idle=60))
        engine.below.is_unread = True
        assert engine.look(START + 60 * SECOND) == START + 60 * SECOND + SECOND // 20


class TestLinger:
    def test_a_closed_connection_reads_on_for_a_while(self) -> None:
        engine = lived(Timeouts(handshake=None, linger=2))
        engine.close()
        assert engine.lingers(START) == START + 2 * SECOND
        assert engine.look(START + SECOND) == START + 2 * SECOND
        assert engine.look(START + 2 * SECOND) == 0
        assert engine.orders[1:] == [("abort",)]

    def test_a_linger_of_0_ends_at_once(self) -> None:
        engine = lived(Timeouts(handshake=None, linger=0))
        engine.close()
        engine.unsent = 100
        assert engine.look(engine.lingers(START)) == 0
        assert engine.orders[1:] == [("abort",)]

    def test_without_a_linger_output_is_waited_for_as_long_as_it_is_taken(self) -> None:
        engine = lived(NO_TIMEOUTS, Keepalive(interval=10, timeout=10))
        engine.close()
        assert engine.lingers(START) == 0
        engine.unsent = 100
        for second in range(0, 1_000, 19):
            engine.below.taken += 1
            assert engine.look(START + second * SECOND) == START + (second + 5) * SECOND
        assert engine.orders == [("close", DRAIN)]
        engine.look(START + (second + 20) * SECOND)
        assert engine.orders[1:] == [("abort",)]
        engine.unsent = 0
        assert engine.look(START + 2_000 * SECOND) == 0

    def test_a_look_that_closes_without_a_linger_is_followed_by_others(self) -> None:
        engine = lived(Timeouts(handshake=5, linger=None), Keepalive(interval=10, timeout=10))
        engine.unsent = 100
        assert engine.look(START + 30 * SECOND) == START + 35 * SECOND
        assert engine.orders == [("close", HANDSHAKE)]
        engine.look(START + 35 * SECOND)
        engine.look(START + 55 * SECOND)
        assert engine.orders[1:] == [("abort",)]


class TestPeer:
    @pytest.fixture
    def receiving(self) -> Iterator[LivedEngine]:
        engine = lived(keepalive=Keepalive(interval=10, timeout=10))
        engine.is_receiving = True
        engine.began_ns = engine.heard_ns = START
        yield engine
        assert engine.orders in ([], [("abort",)])

    def test_silence_in_a_message_ends_the_connection(self, receiving: LivedEngine) -> None:
        receiving.received = 1_000_000
        assert ends(receiving, 0, 30) == 20

    def test_a_message_comes_at_a_lowest_rate(self, receiving: LivedEngine) -> None:
        for second in range(19, 200, 19):
            receiving.received += 1
            receiving.heard_ns = START + second * SECOND
            receiving.look(receiving.heard_ns)
            if receiving.orders:
                break
        assert second == 38

    def test_a_message_at_that_rate_may_take_long(self, receiving: LivedEngine) -> None:
        for second in range(0, 2_000, 19):
            receiving.received = second * 240
            receiving.heard_ns = START + second * SECOND
            receiving.look(receiving.heard_ns)
        assert receiving.orders == []

    def test_a_peer_that_takes_nothing_is_left(self) -> None:
        engine = lived(keepalive=Keepalive(interval=10, timeout=10))
        engine.unsent = 100
        engine.below.taken = 50
        assert ends(engine, 1, 50) == 21
        assert engine.orders == [("abort",)]

    def test_a_slow_reader_is_still_a_reader(self) -> None:
        engine = lived(keepalive=Keepalive(interval=10, timeout=10))
        engine.unsent = 100
        for second in range(0, 1_000, 19):
            engine.below.taken += 1
            engine.look(START + second * SECOND)
        assert engine.orders == []

    def test_readers_of_streams_may_take_their_time(self) -> None:
        engine = lived(keepalive=Keepalive(interval=10, timeout=10))
        engine.unsent = engine.parked = 100
        for second in range(0, 1_000, 19):
            engine.look(START + second * SECOND)
        assert engine.orders == []

    def test_facts_that_no_instant_announces_are_looked_at(self) -> None:
        engine = lived(keepalive=Keepalive(interval=10, timeout=10))
        assert engine.begin(START) == engine.look(START) == START + 5 * SECOND


class TestOrder:
    """The rules that are due at one look."""

    @pytest.fixture
    def late(self) -> LivedEngine:
        """Return an engine for which everything is due a thousand seconds after its begin."""
        engine = lived(
            Timeouts(handshake=5, idle=60, drain=30), Keepalive(interval=10, timeout=10, max_age=100)
        )
        engine.is_receiving = True
        engine.began_ns = engine.heard_ns = START
        return engine

    def test_the_opening_comes_before_a_late_message(self, late: LivedEngine) -> None:
        late.look(START + 1_000 * SECOND)
        assert late.orders == [("close", HANDSHAKE)]

    def test_a_late_message_comes_before_the_age(self, late: LivedEngine) -> None:
        late.opened()
        assert late.look(START + 1_000 * SECOND) == 0
        assert late.orders == [("abort",)]

    def test_untaken_output_comes_before_the_age(self, late: LivedEngine) -> None:
        late.opened()
        late.is_receiving = False
        late.unsent = 100
        late.look(START)
        late.look(START + 1_000 * SECOND)
        assert late.orders == [("abort",)]

    def test_a_connection_at_rest_drains_at_its_age_and_closes(self, late: LivedEngine) -> None:
        late.opened()
        late.is_receiving = False
        late.look(START + 1_000 * SECOND)
        assert late.orders == [("begin_drain", MAX_AGE), ("close", DRAIN)]

    def test_the_time_for_calls_ends_before_the_time_of_the_drain(self, late: LivedEngine) -> None:
        late.opened()
        late.is_receiving = False
        late.is_busy = True
        late.look(START + 1_000 * SECOND)
        late.is_busy = False
        late.look(START + 2_000 * SECOND)
        assert [order[0] for order in late.orders] == ["begin_drain", "end_calls", "close"]

    def test_a_closed_connection_has_its_linger_alone(self, late: LivedEngine) -> None:
        late.close()
        late.lingers(START)
        late.look(START + 1_000 * SECOND)
        assert late.orders == [("close", DRAIN), ("abort",)]

    @pytest.mark.parametrize("is_open", [True, False])
    async def test_credentials_come_before_the_end_of_the_connection(self, is_open: bool) -> None:
        class Watched(LivedEngine):
            def begin_drain(self, reason: int, text: str = "") -> None:
                self._note()
                super().begin_drain(reason, text)

            def close(self, reason: int = 0, text: str = "") -> None:
                self._note()
                super().close(reason, text)

            def _note(self) -> None:
                assert self.connection is not None
                found.append(self.connection.is_expired)

        found: list[bool] = []
        async with gate_for(Shop, authenticate=TOKENS) as gate:
            connection: Any = LivedConnection(gate, "kept")
            engine = Watched(connection)
            engine.live_by(Timeouts(handshake=5), Keepalive(timeout=80_000, max_age=100))
            engine.begin(START)
            if is_open:
                engine.opened()
            assert gate.guards.access is not None
            gate.guards.access.replace(connection, Identity("anna"), 5.0)
            due = engine.check_credentials(START)
            engine.look(max(due, START + 1_000 * SECOND))
            assert found == ([True, True] if is_open else [True])


class TestGate:
    """The rules that ask the gate."""

    async def test_it_counts_the_connection_in_and_out(self) -> None:
        config = ServerConfig(limits=Limits(connections=1))
        async with gate_for(Shop, config=config) as gate:
            engines = [LivedEngine(KeptConnection(gate)) for _ in range(2)]
            assert [engine.count_in() for engine in engines] == [False, True]
            assert len(gate.engines) == 2
            gate.weigh_output(engines[0].connection, 100)  # type: ignore[arg-type]
            for engine in engines:
                engine.count_out()
            assert len(gate.engines) == 0
            assert engines[0].connection is not None
            assert (engines[0].connection.is_closed, engines[0].connection.held_bytes) == (True, 0)

    @pytest.mark.parametrize("is_decided", [True, False])
    async def test_input_waits_for_a_verdict(self, is_decided: bool) -> None:
        async with gate_for(Shop, authenticate=TOKENS) as gate:
            engine = LivedEngine(KeptConnection(gate))
            assert gate.guards.access is not None
            gate.guards.access.authentication.opened = lambda session: is_decided  # type: ignore[method-assign]
            assert (engine.meet_peer(), engine.below.is_input_held) == (is_decided, not is_decided)

    async def test_no_verdict_is_asked_for_without_authentication(self) -> None:
        async with gate_for(Shop) as gate:
            assert LivedEngine(KeptConnection(gate)).meet_peer()

    async def test_output_is_weighed_until_it_has_left(self) -> None:
        async with gate_for(Shop) as gate:
            engine = LivedEngine(KeptConnection(gate))
            assert engine.connection is not None
            engine.weigh(1_000, START)
            assert engine.connection.held_bytes == 1_000
            assert engine.below.looks == [START + 20_000_000]
            waits = []
            now = START
            for unsent in (1_000, 1_000, 500, 500):
                due = engine.weigh_again(unsent, now)
                waits.append((due - now) // 1_000_000)
                now = due
            assert waits == [40, 80, 20, 40]
            assert engine.weigh_again(0, now) == engine.connection.held_bytes == 0
            engine.weigh(0, now)
            assert engine.below.looks == [START + 20_000_000]

    async def test_a_credential_ends_with_its_calls(self) -> None:
        async with gate_for(Shop, authenticate=TOKENS) as gate:
            connection: Any = LivedConnection(gate, "kept")
            engine = LivedEngine(connection)
            assert engine.check_credentials(START) == 0
            assert gate.guards.access is not None
            gate.guards.access.replace(connection, Identity("anna"), 5.0)
            due = engine.check_credentials(START)
            assert due > 0
            assert engine.check_credentials(due - 1) == due
            assert connection.identity is not None
            assert engine.check_credentials(due) == 0
            assert (connection.identity, connection.is_expired) == (None, True)

    async def test_a_stall_of_the_loop_holds_calls_back(self) -> None:
        async with gate_for(Shop) as gate:
            engine = LivedEngine(KeptConnection(gate))
            assert engine.connection is not None
            engine.note_stall(START, START - SECOND)
            assert engine.connection.holding & 32
