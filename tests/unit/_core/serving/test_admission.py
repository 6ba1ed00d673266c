"""Admission: connections and queues of a server whose engines are not the native one."""

import asyncio
from typing import Any, cast

import pytest

from fastrpc import Limits, Memory, ServerConfig, Status
from tests.support.blocking import keep_the_loop
from tests.support.kept_exchange import KeptExchange, gate_for, joined
from tests.support.shop import Shop
from tests.support.waiting import eventually

MIB = 1 << 20
SMALL = ServerConfig(memory=Memory(process_bytes=16 * MIB), limits=Limits(message_bytes=MIB, connections=2))


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


class TestCallsThatWaited:
    async def test_one_is_compared_with_the_memory_again_when_it_starts(self) -> None:
        shop = Shop()
        async with gate_for(shop, config=SMALL) as gate:
            exchange, other = KeptExchange(gate), KeptExchange(gate)
            gate.weigh_output(exchange, 8 * MIB)
            exchange.call("shop.price", "apple")
            assert len(exchange.waiting) == 1
            # What was started before it fills the memory.
            gate.weigh_output(other, 14 * MIB)
            gate.weigh_output(exchange, 0)
            await eventually(lambda: exchange.refusals)
            [(status, text, is_faulty)] = exchange.refusals
            assert (status, is_faulty) == (Status.RESOURCE_EXHAUSTED, False)
            assert "(85 % of Memory.process_bytes)" in text
            assert exchange.answers == []
            gate.weigh_output(other, 0)
            assert exchange.held_bytes == 0

    async def test_its_own_bytes_do_not_count_twice(self) -> None:
        shop = Shop()
        async with gate_for(shop, config=SMALL) as gate:
            exchange, other = KeptExchange(gate), KeptExchange(gate)
            gate.weigh_output(exchange, 8 * MIB)
            exchange.call("shop.price", "x" * (MIB - 64))
            # With the bytes of the request it is above 85 %.
            gate.weigh_output(other, 13 * MIB)
            gate.weigh_output(exchange, 0)
            await eventually(lambda: exchange.answers)
            assert exchange.refusals == []
            gate.weigh_output(other, 0)


class TestConnections:
    async def test_a_session_without_an_exchange_is_a_mistake_of_the_engine(self) -> None:
        async with gate_for(Shop, config=SMALL) as gate:
            with pytest.raises(TypeError, match="has no exchange"):
                joined(gate, "none")
            assert gate.sessions == set()

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
