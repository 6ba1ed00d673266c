"""Admission: memory and connections of a server whose engines are not the native one."""

import asyncio
from typing import Any, cast

import pytest

from fastrpc import Limits, Memory, ServerConfig
from fastrpc._core.serving.admission import bytes_held
from fastrpc._core.serving.gate import Gate
from fastrpc.protocols.base import ServerEngine
from tests.support.blocking import keep_the_loop
from tests.support.kept_exchange import KeptExchange, gate_for
from tests.support.shop import Shop
from tests.support.waiting import eventually
from tests.support.wire_layout import Reason

MIB = 1 << 20
SMALL = ServerConfig(memory=Memory(process_bytes=16 * MIB), limits=Limits(message_bytes=MIB, connections=2))


class KeptSession:
    """A session that keeps what the server says; the rest of `ServerEngine` is not asked for here."""

    def __init__(self, gate: Gate, exchange: Any = None) -> None:
        self.exchange = KeptExchange(gate) if exchange is None else exchange
        self.gate = gate
        self.closed: list[tuple[int, str]] = []

    def abort(self) -> None:
        self.gate.sessions.discard(cast(ServerEngine, self))

    def close(self, reason: int = 0, text: str = "") -> None:
        self.closed.append((reason, text))
        self.abort()


class LostSession(KeptSession):
    """A session whose connection is lost at once when it is closed."""

    def close(self, reason: int = 0, text: str = "") -> None:
        super().close(reason, text)
        self.gate.connection_lost(self.exchange)


def joined(gate: Gate, exchange: Any = None, *, kind: type[KeptSession] = KeptSession) -> KeptSession:
    """Let the gate count a new connection."""
    session = kind(gate, exchange)
    gate.connection_made(cast(ServerEngine, session))
    return session


class Credited(KeptExchange):
    returned = 0

    def return_credit(self) -> int:
        self.returned += 1
        return 0


class TestMemory:
    async def test_credit_is_returned_to_every_engine_once_memory_is_free(self) -> None:
        async with gate_for(Shop, config=SMALL) as gate:
            plain = joined(gate)
            credited = joined(gate, Credited(gate)).exchange
            gate.weigh_output(plain.exchange, 20 * MIB)
            assert (gate.is_full, bytes_held(), credited.returned) == (True, 20 * MIB, 0)
            gate.weigh_output(plain.exchange, 0)
            assert (gate.is_full, bytes_held(), credited.returned) == (False, 0, 1)

    async def test_an_engine_that_cannot_return_its_credit_harms_no_call(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(KeptExchange):
            def return_credit(self) -> int:
                raise ZeroDivisionError

        shop = Shop()
        async with gate_for(shop, config=SMALL) as gate:
            session = joined(gate, Broken(gate))
            other = joined(gate, Credited(gate)).exchange
            exchange = session.exchange
            gate.weigh_output(other, 17 * MIB)
            gate.weigh_output(other, 17 * MIB - 1)
            exchange.call("shop.price", "apple")
            gate.weigh_output(other, 0)
            exchange.call("shop.pack", "apple")
            shop.go_on.set()
            await eventually(lambda: exchange.answers == ["packed apple"])
            assert (bytes_held(), gate.is_full, other.returned) == (0, False, 1)
            assert "cannot return its credit" in caplog.text

    async def test_a_session_without_an_exchange_is_a_mistake_of_the_engine(self) -> None:
        async with gate_for(Shop, config=SMALL) as gate:
            with pytest.raises(TypeError, match="has no exchange"):
                joined(gate, "none")
            assert gate.sessions == set()

    async def test_the_connection_that_holds_the_most_is_closed_if_memory_stays_short(self) -> None:
        async with gate_for(Shop, config=SMALL) as gate:
            gate.full_wait_ns = 1_000_000
            small, large = joined(gate), joined(gate, kind=LostSession)
            gate.weigh_output(small.exchange, 8 * MIB)
            gate.weigh_output(large.exchange, 9 * MIB)
            await eventually(lambda: large.closed)
            reason, text = large.closed[0]
            assert (reason, small.closed) == (Reason.MEMORY, [])
            assert text.endswith(f"(Memory.process_bytes); this one holds the most, {9 * MIB}")
            await eventually(lambda: not gate.is_full)

    async def test_output_of_a_lost_connection_holds_nothing(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            gate.connection_lost(exchange)
            gate.weigh_output(exchange, MIB)
            assert (exchange.held_bytes, bytes_held()) == (0, 0)


class TestStalls:
    async def test_what_may_start_in_the_next_turn_waits_if_the_loop_is_blocked_before_it(self) -> None:
        """The cancel of such a call may lie unread in the socket."""
        shop = Shop()
        async with gate_for(shop) as gate:
            exchange = KeptExchange(gate)
            gate.weigh_output(exchange, 64 * MIB)
            given_up, kept = exchange.call("shop.pack", "apple"), exchange.call("shop.pack", "pear")
            gate.weigh_output(exchange, 0)
            keep_the_loop(0.03)
            await asyncio.sleep(0)
            assert shop.started == 0
            gate.cancel_call(given_up)
            await eventually(lambda: shop.started == 1)
            shop.go_on.set()
            await eventually(lambda: exchange.answers == ["packed pear"])
            assert [text for _, text, _ in exchange.refusals] == ["shop.pack was cancelled before it started"]
            assert kept in exchange.listed


class TestConnections:
    async def test_a_connection_above_the_limit_is_closed_and_told_why(self) -> None:
        async with gate_for(Shop, config=SMALL) as gate:
            sessions = [joined(gate) for _ in range(3)]
            text = "the server has 2 connections already (Limits.connections)"
            assert [session.closed for session in sessions] == [[], [], [(0, text)]]
            assert gate.totals()["refused_connections"] == 1

    async def test_looks_at_a_queue_that_fills_and_empties_are_one_at_a_time(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            gate.weigh_output(exchange, 64 * MIB)
            loop = cast(Any, asyncio.get_running_loop())
            if not hasattr(loop, "_scheduled"):
                pytest.skip("this loop does not show its timers")
            before = len(loop._scheduled)
            for _ in range(100):
                gate.cancel_call(exchange.call("shop.price", "apple"))
            assert len(loop._scheduled) - before <= 1
