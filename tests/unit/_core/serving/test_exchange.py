"""What an engine does with its exchange: cancel, drain, end; what it has to implement."""

import gc
import weakref
from typing import Any

import pytest

from fastrpc import Status
from fastrpc._core.serving.exchange import Exchange, Failure
from fastrpc._core.serving.gate import Gate
from fastrpc._core.serving.served_call import ServerCall
from tests.support.kept_exchange import KeptExchange, gate_for
from tests.support.shop import Shop
from tests.support.waiting import eventually

#: More output than `Memory.send_soft` has by default.
MUCH = 64 << 20


class TestEnds:
    async def test_a_cancel_stops_the_handler(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            exchange = KeptExchange(gate)
            call = exchange.call("shop.pack", "apple")
            gate.cancel_call(call)
            await exchange.wait()
            assert call.cancelled
            assert exchange.failures[0].status == Status.CANCELLED
            assert (shop.cancelled, gate.running) == (1, 0)

    async def test_a_cancel_for_the_deadline_carries_that_reason(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            gate.cancel_call(exchange.call("shop.pack", "apple"), is_late=True)
            await exchange.wait()
            assert exchange.failures[0].status == Status.DEADLINE_EXCEEDED

    async def test_a_cancel_takes_a_call_out_of_the_queue(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            exchange = KeptExchange(gate)
            gate.weigh_output(exchange, MUCH)
            call = exchange.call("shop.price", "apple")
            gate.cancel_call(call)
            text = "shop.price was cancelled before it started"
            assert exchange.refusals == [(Status.CANCELLED, text, False)]
            gate.weigh_output(exchange, 0)
            exchange.call("shop.count", "apple")
            assert (shop.started, gate.waiting, exchange.held_bytes) == (0, 0, 0)

    async def test_a_cancel_of_an_answered_call_changes_nothing(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            gate.cancel_call(exchange.call("shop.price", "apple"))
            assert (exchange.answers, exchange.failures, exchange.refusals) == ([5], [], [])

    async def test_a_deadline_ends_the_handler(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            exchange.call("shop.pack", "apple", timeout=0.01)
            await exchange.wait()
            assert exchange.failures[0].status == Status.DEADLINE_EXCEEDED

    async def test_handlers_learn_of_a_drain(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            exchange.call("shop.linger")
            assert exchange.answers == []
            exchange.note_drain()
            await exchange.wait()
            exchange.call("shop.linger")
            await exchange.wait()
            assert exchange.answers == ["drained", "drained"]

    async def test_the_end_of_a_drain_answers_each_call_once(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            exchange = KeptExchange(gate)
            exchange.call("shop.pack", "apple")
            gate.weigh_output(exchange, MUCH)
            exchange.call("shop.price", "apple")
            gate.end_calls(exchange, "over")
            assert [(failure.status, failure.text) for failure in exchange.failures] == [
                (Status.UNAVAILABLE, "over")
            ]
            assert exchange.refusals == [(Status.UNAVAILABLE, "over", False)]
            gate.end_calls(exchange, "over")
            await eventually(lambda: gate.running == 0)
            assert (len(exchange.failures), len(exchange.refusals), shop.cancelled) == (1, 1, 1)

    async def test_a_lost_connection_stops_its_handlers_and_gets_no_answers(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            exchange, other = KeptExchange(gate), KeptExchange(gate)
            exchange.call("shop.pack", "apple")
            other.call("shop.pack", "pear")
            gate.weigh_output(exchange, MUCH)
            exchange.call("shop.price", "apple")
            gate.connection_lost(exchange)
            await eventually(lambda: shop.cancelled == 1)
            assert (exchange.answers, exchange.failures, exchange.refusals) == ([], [], [])
            assert (exchange.is_closed, gate.waiting, exchange.held_bytes) == (True, 0, 0)
            shop.go_on.set()
            await other.wait()
            assert other.answers == ["packed pear"]

    async def test_an_exchange_is_not_kept_behind_its_calls(self) -> None:
        async with gate_for(Shop) as gate:
            exchange: KeptExchange | None = KeptExchange(gate)
            assert exchange is not None
            exchange.call("shop.price", "apple")
            exchange.call("shop.look")
            gone = weakref.ref(exchange)
            exchange = None
            gc.collect()
            assert gone() is None


class TestExchange:
    @pytest.mark.parametrize(
        "act",
        [
            lambda exchange, call: exchange.answer(call, b""),
            lambda exchange, call: exchange.fail(call, Failure(1, "x")),
            lambda exchange, call: exchange.refuse(call, 1, "x", False),
        ],
    )
    async def test_an_engine_has_to_say_how_to_answer(self, act: Any) -> None:
        async with gate_for(Shop) as gate:
            call = KeptExchange(gate).call("shop.price", "apple")
            with pytest.raises(NotImplementedError, match="Exchange does not implement "):
                act(Exchange(gate, "none"), call)

    async def test_a_refusal_is_a_failure_where_an_engine_makes_no_difference(self) -> None:
        class Plain(Exchange):
            told: Failure | None = None

            def fail(self, call: ServerCall, failure: Failure) -> None:
                self.told = failure

        async with gate_for(Shop) as gate:
            exchange = Plain(gate, "plain")
            gate.begin(exchange, method="shop.none", payload=b"", codec="msgpack")
            assert exchange.told is not None
            assert (exchange.told.status, exchange.told.has_run) == (Status.UNIMPLEMENTED, False)

    async def test_an_exchange_knows_its_protocol_and_its_gate(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = Exchange(gate, "toy")
            assert (exchange.protocol, exchange.gate) == ("toy", gate)
            assert isinstance(gate, Gate)
