"""The exchange of an engine: what is the same in every protocol."""

import gc
from typing import Any

from fastrpc._core.serving.served_engine import ServedEngine
from tests.support.kept_exchange import gate_for
from tests.support.shop import Shop


class Parts:
    """What an engine asks of the parts of its server."""

    reveals_services = True

    def __init__(self, gate: Any) -> None:
        self.gate = gate


async def test_an_engine_and_its_exchange_outlive_each_other() -> None:
    async with gate_for(Shop) as gate:
        engine = ServedEngine(Parts(gate), "kept")  # type: ignore[arg-type]
        exchange = engine.exchange
        del engine
        gc.collect()
        assert exchange.engine is None
        # Nobody is left to be told.
        exchange.abandon()


async def test_it_counts_calls_and_the_output_of_its_engine() -> None:
    async with gate_for(Shop) as gate:
        engine = ServedEngine(Parts(gate), "kept")  # type: ignore[arg-type]
        gate.weigh_output(engine.exchange, 64 << 20)
        call = gate.begin(engine.exchange, method="shop.price", payload=b'["apple"]', codec="json")
        assert engine.exchange.stats(7) == {"calls": 1, "one_way": 0, "buffered": 7, "credit": 0}
        gate.cancel_call(call)
        gate.session_lost(engine, None)  # type: ignore[arg-type]
        assert engine.stats() == {"calls": 0, "one_way": 0, "buffered": 0, "credit": 0}
