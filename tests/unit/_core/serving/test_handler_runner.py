"""Handlers of every kind behind the gate, and what their calls know."""

import math
from typing import Any

import msgspec
import pytest

from fastrpc import Identity, ServerConfig, Status, Timeouts
from tests.support.kept_exchange import KeptExchange, gate_for
from tests.support.shop import Shop
from tests.support.waiting import eventually


class TestHandlers:
    async def test_a_handler_that_suspends_is_held_until_it_ends(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            exchange = KeptExchange(gate)
            call = exchange.call("shop.pack", "apple")
            assert (exchange.listed, exchange.running, gate.running) == ([call], (call,), 1)
            assert exchange.held_bytes > 0
            shop.go_on.set()
            await exchange.wait()
            assert exchange.answers == ["packed apple"]
            assert (exchange.running, gate.running, exchange.held_bytes) == ((), 0, 0)

    async def test_an_inline_handler_is_answered_before_begin_returns(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            exchange.call("shop.count", "apple")
            assert exchange.answers == [5]

    async def test_a_handler_in_a_thread_is_answered_on_the_loop(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            exchange = KeptExchange(gate)
            exchange.call("shop.weigh", "apple")
            shop.thread_goes_on.set()
            await exchange.wait()
            assert exchange.answers == ["apple in True"]

    async def test_an_error_of_the_handler_reaches_the_caller_with_details_and_metadata(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            exchange.call("shop.fail", "pear")
            [failure] = exchange.failures
            assert (failure.status, failure.text, failure.has_run) == (Status.NOT_FOUND, "pear", True)
            assert (msgspec.msgpack.decode(failure.details), failure.pushback_ms) == ({"item": "pear"}, 1500)
            assert exchange.reply_metadata == [{"hint": "other"}]

    async def test_a_crash_is_answered_with_internal(self, caplog: pytest.LogCaptureFixture) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            exchange.call("shop.crash")
            assert exchange.failures[0].status == Status.INTERNAL
            assert "ZeroDivisionError" in caplog.text

    async def test_an_answer_over_the_limit_of_the_peer_is_an_error(self) -> None:
        shop = Shop()
        shop.go_on.set()
        async with gate_for(shop) as gate:
            exchange = KeptExchange(gate)
            exchange.max_message = 10
            exchange.call("shop.pack", "a long word")
            [failure] = exchange.failures
            assert failure.status == Status.RESOURCE_EXHAUSTED
            assert "the client takes at most 10" in failure.text

    async def test_reply_metadata_over_the_limit_of_the_peer_is_an_error(self) -> None:
        async with gate_for(Shop) as gate:
            exchange = KeptExchange(gate)
            exchange.max_metadata = 4
            exchange.call("shop.look")
            assert "over the 4 bytes" in exchange.failures[0].text

    async def test_interceptors_run_around_the_handler(self) -> None:
        async def shout(call: Any, proceed: Any) -> Any:
            return (await proceed(call)) * 2

        async with gate_for(Shop, interceptors=[shout]) as gate:
            exchange = KeptExchange(gate)
            exchange.call("shop.price", "apple")
            assert exchange.answers == [10]

    async def test_a_one_way_call_is_released_and_never_answered(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            exchange = KeptExchange(gate)
            quick = exchange.call("shop.price", "apple", one_way=True)
            slow = exchange.call("shop.pack", "apple", one_way=True)
            broken = exchange.call("shop.crash", one_way=True)
            assert (exchange.released, exchange.listed) == ([quick, broken], [])
            exchange.ends.clear()
            shop.go_on.set()
            await exchange.wait()
            assert exchange.released == [quick, broken, slow]
            assert (exchange.answers, exchange.failures, exchange.refusals) == ([], [], [])

    async def test_a_handler_sees_metadata_and_the_identity_of_its_connection(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            exchange = KeptExchange(gate)
            exchange.call("shop.look", metadata={"tenant": "acme"})
            exchange.identity = Identity("ada")
            exchange.call("shop.look")
            names = [None if identity is None else identity.name for identity, *_ in shop.seen]
            assert names == [None, "ada"]
            assert shop.seen[0][1] == {"tenant": "acme"}
            assert exchange.reply_metadata == [{"seen": "yes"}] * 2

    async def test_time_is_the_callers_or_the_servers_and_at_most_the_methods(self) -> None:
        shop = Shop()
        async with gate_for(shop, config=ServerConfig(timeouts=Timeouts(call=100))) as gate:
            exchange = KeptExchange(gate)
            for timeout in (None, 7, math.inf):
                exchange.call("shop.look", timeout=timeout)
                exchange.call("shop.limited", timeout=timeout)
            await eventually(lambda: len(exchange.answers) == 6)
            left = [remaining for *_, remaining in shop.seen]
            assert 99 < left[0] <= 100
            assert 6 < left[1] <= 7
            assert left[2] is None
            limited = [answer for answer in exchange.answers if isinstance(answer, float)]
            assert len(limited) == 3
            assert all(0 < answer <= 0.5 for answer in limited)

    @pytest.mark.parametrize("timeout", [-1, math.nan])
    async def test_an_invalid_timeout_is_an_error_of_the_engine(self, timeout: float) -> None:
        async with gate_for(Shop) as gate:
            with pytest.raises(ValueError, match="timeout is"):
                KeptExchange(gate).call("shop.price", "apple", timeout=timeout)
