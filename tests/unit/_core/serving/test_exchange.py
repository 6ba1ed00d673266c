"""What an engine does with its exchange: cancel, drain, end; what it has to implement."""

import asyncio
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

    async def test_a_new_call_starts_behind_those_that_waited(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            gate.weigh_output(exchange, MUCH)
            exchange.call("shop.pack", "apple")
            gate.weigh_output(exchange, 0)
            # The one before starts in the next turn of the loop, this one was read before that.
            late = exchange.call("shop.pack", "pear")
            assert exchange.listed[-1] is late
            assert gate.running == 0
            await eventually(lambda: gate.running == 2)
            # Nothing waits any more, so that nothing is in the way.
            exchange.call("shop.pack", "plum")
            assert gate.running == 3

    async def test_a_late_cancel_of_a_waiting_call_carries_that_reason(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            gate.weigh_output(exchange, MUCH)
            gate.cancel_call(exchange.call("shop.price", "apple"), is_late=True)
            text = "shop.price: its deadline passed before the handler started"
            assert exchange.refusals == [(Status.DEADLINE_EXCEEDED, text, False)]
            assert gate.expired_unstarted == 1

    async def test_a_call_that_the_engine_cancels_while_all_end_is_answered_once(self) -> None:
        class Cancelling(KeptExchange):
            other: ServerCall | None = None

            def refuse(self, call: ServerCall, status: int, text: str, is_faulty: bool) -> None:
                super().refuse(call, status, text, is_faulty)
                other, self.other = self.other, None
                if other is not None:
                    self.gate.cancel_call(other)

        async with gate_for(Shop) as gate:
            exchange = Cancelling(gate)
            gate.weigh_output(exchange, MUCH)
            exchange.call("shop.price", "apple")
            exchange.other = exchange.call("shop.price", "pear")
            gate.end_calls(exchange, "over")
            assert [status for status, _, _ in exchange.refusals] == [Status.UNAVAILABLE, Status.CANCELLED]
            assert (exchange.failures, gate.waiting, exchange.request_held) == ([], 0, 0)

    async def test_a_call_of_a_lost_connection_is_not_started(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            exchange = KeptExchange(gate)
            gate.connection_lost(exchange)
            exchange.call("shop.pack", "apple")
            exchange.call("shop.nothing")
            assert (shop.started, gate.running, gate.refused, exchange.held_bytes) == (0, 0, 2, 0)
            assert (exchange.answers, exchange.failures, exchange.refusals) == ([], [], [])

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
            assert exchange.answers == ["drained"]

    async def test_no_call_starts_once_the_connection_drains(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            exchange = KeptExchange(gate)
            gate.weigh_output(exchange, MUCH)
            exchange.call("shop.price", "apple")
            exchange.note_drain()
            exchange.call("shop.price", "pear")
            exchange.call("shop.prise", "pear")
            assert [(status, text) for status, text, _ in exchange.refusals] == [
                (Status.UNAVAILABLE, "the server drains"),
                (Status.UNIMPLEMENTED, "no method 'shop.prise' here"),
            ]
            gate.weigh_output(exchange, 0)
            await exchange.wait()
            await eventually(lambda: exchange.answers == [5])

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


class TestOneWay:
    @pytest.mark.parametrize(
        ("method", "argument", "options"),
        [
            ("shop.nope", "apple", {}),
            ("shop.price", 7, {}),
            ("shop.price", "apple", {"timeout": 0}),
            ("shop.price", "apple", {"metadata": {"k": "x" * 60_000}}),
            ("shop.price", "apple", {}),
        ],
    )
    async def test_one_way_calls_are_released_and_never_answered(
        self, method: str, argument: Any, options: dict[str, Any]
    ) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            call = exchange.call(method, argument, one_way=True, **options)
            assert exchange.released == [call]
            assert (exchange.answers, exchange.failures, exchange.refusals) == ([], [], [])

    async def test_a_waiting_one_way_call_is_released_at_the_end(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            gate.weigh_output(exchange, MUCH)
            call = exchange.call("shop.price", "apple", one_way=True)
            assert exchange.released == []
            gate.end_calls(exchange, "over")
            gate.end_calls(exchange, "over")
            assert (exchange.released, exchange.refusals) == ([call], [])


class Broken(KeptExchange):
    """An engine whose `fault` method raises."""

    def __init__(self, gate: Gate, fault: str, error: type[BaseException]) -> None:
        super().__init__(gate)
        self.abandoned = 0
        setattr(self, fault, lambda *arguments: self.fall(error))

    def fall(self, error: type[BaseException]) -> None:
        raise error("the engine fell")

    def abandon(self) -> None:
        self.abandoned += 1


class TestBrokenEngines:
    @pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
    @pytest.mark.parametrize(
        ("fault", "method"),
        [
            ("answer", "shop.price"),
            ("answer", "shop.pack"),
            ("fail", "shop.crash"),
            ("refuse", "shop.nothing"),
            ("hold", "shop.pack"),
        ],
    )
    async def test_an_engine_that_fails_is_abandoned_and_nothing_stays_counted(
        self, fault: str, method: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
    ) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            exchange = Broken(gate, fault, error)
            exchange.call(method, *([] if method in ("shop.crash", "shop.nothing") else ["apple"]))
            shop.go_on.set()
            await eventually(lambda: gate.running == 0)
            assert (exchange.abandoned, gate.waiting, exchange.held_bytes) == (1, 0, 0)
            assert "internal error in an exchange of protocol kept" in caplog.text

    async def test_an_engine_that_fails_to_hold_a_waiting_call_leaves_it_in_the_queue(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = Broken(gate, "hold", RuntimeError)
            gate.weigh_output(exchange, MUCH)
            exchange.call("shop.price", "apple")
            assert (gate.waiting, exchange.abandoned) == (1, 1)
            gate.connection_lost(exchange)
            assert (gate.waiting, exchange.held_bytes) == (0, 0)

    async def test_an_engine_that_fails_to_release_is_abandoned(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = Broken(gate, "release", RuntimeError)
            exchange.call("shop.price", "apple", one_way=True)
            exchange.call("shop.nothing", one_way=True)
            assert (exchange.abandoned, gate.running, exchange.held_bytes) == (2, 0, 0)


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
