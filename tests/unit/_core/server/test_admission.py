"""Admission: budgets and queues of a server whose engines are not the native one."""

import asyncio
import re
from itertools import pairwise
from typing import Any, cast

import pytest

import fastrpc
from fastrpc import Admission, Limits, Memory, ServerConfig, Status
from tests.support.blocking import keep_the_loop
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop
from tests.support.waiting import eventually

MIB = 1 << 20
SMALL = ServerConfig(memory=Memory(process_bytes=16 * MIB), limits=Limits(message_bytes=MIB, connections=2))


@fastrpc.service("desk")
class Desk:
    """Takes longer than a turn has for calls that waited."""

    @fastrpc.method(inline=True)
    def hold_the_loop(self) -> None:
        keep_the_loop(0.005)

    @fastrpc.method(inline=True)
    def note(self) -> None:
        pass


class TestCallsThatWaited:
    async def test_a_waiting_call_is_compared_with_the_memory_again_when_it_starts(self) -> None:
        shop = Shop()
        async with gate_for(shop, config=SMALL) as gate:
            connection, other = KeptConnection(gate), KeptConnection(gate)
            gate.weigh_output(connection, 8 * MIB)
            connection.call("shop.price", "apple")
            assert len(connection.waiting) == 1
            # Earlier calls fill the memory.
            gate.weigh_output(other, 14 * MIB)
            gate.weigh_output(connection, 0)
            await eventually(lambda: connection.refusals)
            [(status, text, is_faulty)] = connection.refusals
            assert (status, is_faulty) == (Status.RESOURCE_EXHAUSTED, False)
            assert "(85 % of Memory.process_bytes)" in text
            assert connection.answers == []
            gate.weigh_output(other, 0)
            assert connection.held_bytes == 0

    async def test_each_refusal_names_its_own_method_and_wait(self) -> None:
        methods = ["desk.note", "desk.note", "desk.hold_the_loop", "desk.note"]
        async with gate_for(Desk, config=ServerConfig(admission=Admission(queue_age=0.05))) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, 9 * MIB)
            for method in methods:
                connection.call(method)
                keep_the_loop(0.06)
            gate.weigh_output(connection, 0)
            await eventually(lambda: len(connection.refusals) == len(methods))
            pattern = r"(\S+) waited (\S+) s for its start, 0.05 s are allowed \(Admission.queue_age\)"
            told = [re.fullmatch(pattern, text) for _, text, _ in connection.refusals]
            assert [each and each[1] for each in told] == methods
            waits = [float(each[2]) for each in told if each]
            assert all(before - after >= 0.055 for before, after in pairwise(waits)), waits
            assert min(waits) >= 0.05

    async def test_its_own_bytes_do_not_count_twice(self) -> None:
        shop = Shop()
        async with gate_for(shop, config=SMALL) as gate:
            connection, other = KeptConnection(gate), KeptConnection(gate)
            gate.weigh_output(connection, 8 * MIB)
            connection.call("shop.price", "x" * (MIB - 64))
            # With the bytes of the request it is above 85 %.
            gate.weigh_output(other, 13 * MIB)
            gate.weigh_output(connection, 0)
            await eventually(lambda: connection.answers)
            assert connection.refusals == []
            gate.weigh_output(other, 0)


class TestConnections:
    async def test_looks_at_a_queue_that_fills_and_empties_are_one_at_a_time(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, 64 * MIB)
            loop = cast(Any, asyncio.get_running_loop())
            if not hasattr(loop, "_scheduled"):
                pytest.skip("this loop does not show its timers")
            before = len(loop._scheduled)
            for _ in range(100):
                gate.cancel_call(connection.call("shop.price", "apple"))
            assert len(loop._scheduled) - before <= 1
