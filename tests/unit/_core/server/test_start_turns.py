"""Turns of waiting calls, and holds: after a stall of the loop, for output that is not taken."""

import asyncio
import time
from typing import Any

import fastrpc
from fastrpc import Admission, ServerConfig, Status
from fastrpc_harness.living import LivedConnection
from tests.support.blocking import keep_the_loop
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop
from tests.support.waiting import eventually

MIB = 1 << 20


@fastrpc.service("desk")
class Desk:
    """Takes longer than a turn has for calls that waited."""

    @fastrpc.method(inline=True)
    def hold_the_loop(self) -> None:
        keep_the_loop(0.005)


class TestStalls:
    async def test_calls_that_may_start_in_the_next_turn_wait_if_the_loop_is_blocked_before_it(self) -> None:
        """The cancel of such a call may lie unread in the socket."""
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, 64 * MIB)
            given_up, kept = connection.call("shop.pack", "apple"), connection.call("shop.pack", "pear")
            gate.weigh_output(connection, 0)
            keep_the_loop(0.03)
            await asyncio.sleep(0)
            assert shop.started == 0
            gate.cancel_call(given_up)
            await eventually(lambda: shop.started == 1)
            shop.go_on.set()
            await eventually(lambda: connection.answers == ["packed pear"])
            assert [text for _, text, _ in connection.refusals] == [
                "shop.pack was cancelled before it started"
            ]
            assert kept in connection.listed

    async def test_where_each_turn_of_the_loop_takes_long_calls_are_held_for_one_turn(self) -> None:
        """Six turns, as after a single stall, could make them too old to start."""
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, 64 * MIB)
            connection.call("shop.price", "apple")
            gate.weigh_output(connection, 0)
            for is_held in (True, False):
                keep_the_loop(0.11)
                connection.call("shop.price", "pear")
                await asyncio.sleep(0)
                assert (connection.answers == []) is is_held


class TestCallsThatWaited:
    async def test_one_that_is_too_old_is_refused_in_a_turn_that_has_time_for_other_connections_alone(
        self,
    ) -> None:
        config = ServerConfig(admission=Admission(queue_age=1.0))
        async with gate_for(Desk, config=config) as gate:
            while True:
                connection, *others = [KeptConnection(gate) for _ in range(30)]
                for each in (connection, *others):
                    gate.weigh_output(each, 9 * MIB)
                connection.call("desk.hold_the_loop")
                keep_the_loop(1.1)
                began = time.perf_counter()
                for each in others:
                    each.call("desk.hold_the_loop")
                for each in (*others, connection):
                    gate.weigh_output(each, 0)
                gate.turns.start_waiting()
                # A machine that took away the processor in between has made this a stall, or has used up the turn
                # before the first of them: once more then.
                if time.perf_counter() < began + 0.02 and any(each.answers for each in others):
                    break
                await eventually(lambda: not gate.admission.waiting)
            # A few of them at once have used up the turn.
            assert sum(len(each.answers) for each in others) < len(others)
            [(status, text, _)] = connection.refusals
            assert status is Status.RESOURCE_EXHAUSTED
            assert "(Admission.queue_age)" in text


class TestOutput:
    async def test_delivered_parts_of_long_output_count_and_delay_no_calls(self) -> None:
        async with gate_for(Shop) as gate:
            connection: Any = LivedConnection(gate, "kept")
            for cut, is_held in ((64 * MIB, False), (1 * MIB, True), (64 * MIB, False)):
                connection.cut = cut
                gate.weigh_output(connection, 64 * MIB)
                assert connection.held_bytes == 64 * MIB
                assert bool(connection.holding) is is_held
