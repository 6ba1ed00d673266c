"""The memory that the connections of a server hold, whose engines are not the native one."""

import pytest

from fastrpc import Limits, Memory, ServerConfig
from fastrpc._core.serving.memory_budget import bytes_held
from tests.support.kept_exchange import KeptExchange, LostSession, gate_for, joined
from tests.support.shop import Shop
from tests.support.waiting import eventually
from tests.support.wire_layout import Reason

MIB = 1 << 20
SMALL = ServerConfig(memory=Memory(process_bytes=16 * MIB), limits=Limits(message_bytes=MIB, connections=2))


class Credited(KeptExchange):
    returned = 0

    def return_credit(self) -> int:
        self.returned += 1
        return 0


async def test_credit_is_returned_to_every_engine_once_memory_is_free() -> None:
    async with gate_for(Shop, config=SMALL) as gate:
        plain = joined(gate)
        credited = joined(gate, Credited(gate)).exchange
        gate.weigh_output(plain.exchange, 20 * MIB)
        assert (gate.memory.is_full, bytes_held(), credited.returned) == (True, 20 * MIB, 0)
        gate.weigh_output(plain.exchange, 0)
        assert (gate.memory.is_full, bytes_held(), credited.returned) == (False, 0, 1)


async def test_an_engine_that_cannot_return_its_credit_harms_no_call(
    caplog: pytest.LogCaptureFixture,
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
        assert (bytes_held(), gate.memory.is_full, other.returned) == (0, False, 1)
        assert "cannot return its credit" in caplog.text


async def test_the_connection_that_holds_the_most_is_closed_if_memory_stays_short() -> None:
    async with gate_for(Shop, config=SMALL) as gate:
        gate.memory.full_wait_ns = 1_000_000
        small, large = joined(gate), joined(gate, kind=LostSession)
        gate.weigh_output(small.exchange, 8 * MIB)
        gate.weigh_output(large.exchange, 9 * MIB)
        await eventually(lambda: large.closed)
        reason, text = large.closed[0]
        assert (reason, small.closed) == (Reason.MEMORY, [])
        assert text.endswith(f"(Memory.process_bytes); this one holds the most, {9 * MIB}")
        await eventually(lambda: not gate.memory.is_full)


async def test_output_of_a_lost_connection_holds_nothing() -> None:
    async with gate_for(Shop) as gate:
        exchange = KeptExchange(gate)
        gate.connection_lost(exchange)
        gate.weigh_output(exchange, MIB)
        assert (exchange.held_bytes, bytes_held()) == (0, 0)
