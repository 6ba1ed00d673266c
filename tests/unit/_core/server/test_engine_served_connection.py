"""The connection of an engine: what is the same in every protocol."""

import gc
from typing import Any

from fastrpc._core.server.served_engine import ServedEngine
from tests.support.kept_connection import gate_for
from tests.support.shop import Shop


class Parts:
    """What an engine asks of the parts of its server."""

    reveals_services = True

    def __init__(self, gate: Any) -> None:
        self.gate = gate


async def test_an_engine_and_its_connection_outlive_each_other() -> None:
    async with gate_for(Shop) as gate:
        engine = ServedEngine(Parts(gate), "kept", has_rules=False)
        connection = engine.connection
        del engine
        gc.collect()
        assert connection.engine is None
        # Nobody is left to be told.
        connection.abandon()


async def test_it_counts_calls_and_the_output_of_its_engine() -> None:
    async with gate_for(Shop) as gate:
        engine = ServedEngine(Parts(gate), "kept", has_rules=False)
        gate.weigh_output(engine.connection, 64 << 20)
        call = gate.begin(engine.connection, method="shop.price", payload=b'["apple"]', codec="json")
        assert engine.connection.stats(7) == {"calls": 1, "one_way": 0, "buffered": 7, "credit": 0}
        gate.cancel_call(call)
        gate.engine_lost(engine, None)  # type: ignore[arg-type]
        assert engine.stats() == {"calls": 0, "one_way": 0, "buffered": 0, "credit": 0}
