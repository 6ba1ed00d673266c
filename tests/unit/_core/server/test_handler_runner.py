"""Handlers of every kind after the gate, and the facts that their calls know."""

import math
from typing import Any

import msgspec
import pytest

from fastrpc import Identity, ServerConfig, Status, Timeouts
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop
from tests.support.waiting import eventually


class TestHandlers:
    async def test_a_handler_that_suspends_is_held_until_it_ends(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            call = connection.call("shop.pack", "apple")
            assert (connection.listed, connection.running, gate.running) == ([call], (call,), 1)
            assert connection.held_bytes > 0
            shop.go_on.set()
            await connection.wait()
            assert connection.answers == ["packed apple"]
            assert (connection.running, gate.running, connection.held_bytes) == ((), 0, 0)

    async def test_an_inline_handler_is_answered_before_begin_returns(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.count", "apple")
            assert connection.answers == [5]

    async def test_a_handler_in_a_thread_is_answered_on_the_loop(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.weigh", "apple")
            shop.thread_goes_on.set()
            await connection.wait()
            assert connection.answers == ["apple in True"]

    async def test_an_error_of_the_handler_reaches_the_caller_with_details_and_metadata(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.fail", "pear")
            [failure] = connection.failures
            assert (failure.status, failure.text, failure.has_run) == (Status.NOT_FOUND, "pear", True)
            assert (msgspec.msgpack.decode(failure.details), failure.pushback_ms) == ({"item": "pear"}, 1500)
            assert connection.reply_metadata == [{"hint": "other"}]

    async def test_a_crash_is_answered_with_internal(self, caplog: pytest.LogCaptureFixture) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.crash")
            assert connection.failures[0].status == Status.INTERNAL
            assert "ZeroDivisionError" in caplog.text

    async def test_an_answer_over_the_limit_of_the_peer_is_an_error(self) -> None:
        shop = Shop()
        shop.go_on.set()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            connection.max_message = 10
            connection.call("shop.pack", "a long word")
            [failure] = connection.failures
            assert failure.status == Status.RESOURCE_EXHAUSTED
            assert "the client takes at most 10" in failure.text

    async def test_reply_metadata_over_the_limit_of_the_peer_is_an_error(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            connection.max_metadata = 4
            connection.call("shop.look")
            assert "over the 4 bytes" in connection.failures[0].text

    async def test_interceptors_run_around_the_handler(self) -> None:
        async def shout(call: Any, proceed: Any) -> Any:
            return (await proceed(call)) * 2

        async with gate_for(Shop, interceptors=[shout]) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.price", "apple")
            assert connection.answers == [10]

    async def test_a_one_way_call_is_released_and_never_answered(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            quick = connection.call("shop.price", "apple", one_way=True)
            slow = connection.call("shop.pack", "apple", one_way=True)
            broken = connection.call("shop.crash", one_way=True)
            await eventually(lambda: broken in connection.released)
            assert (connection.released, connection.listed) == ([quick, broken], [])
            connection.ends.clear()
            shop.go_on.set()
            await connection.wait()
            assert connection.released == [quick, broken, slow]
            assert (connection.answers, connection.failures, connection.refusals) == ([], [], [])

    async def test_a_handler_sees_metadata_and_the_identity_of_its_connection(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.look", metadata={"tenant": "acme"})
            connection.identity = Identity("ada")
            connection.call("shop.look")
            # Where the machine stalls in the first handler, the second call waits.
            await eventually(lambda: len(connection.answers) == 2)
            names = [None if identity is None else identity.name for identity, *_ in shop.seen]
            assert names == [None, "ada"]
            assert shop.seen[0][1] == {"tenant": "acme"}
            assert connection.reply_metadata == [{"seen": "yes"}] * 2

    async def test_time_is_the_callers_or_the_servers_and_at_most_the_methods(self) -> None:
        shop = Shop()
        async with gate_for(shop, config=ServerConfig(timeouts=Timeouts(call=100))) as gate:
            connection = KeptConnection(gate)
            for timeout in (None, 7, math.inf):
                connection.call("shop.look", timeout=timeout)
                connection.call("shop.limited", timeout=timeout)
            await eventually(lambda: len(connection.answers) == 6)
            left = [remaining for *_, remaining in shop.seen]
            assert 99 < left[0] <= 100
            assert 6 < left[1] <= 7
            assert left[2] is None
            limited = [answer for answer in connection.answers if isinstance(answer, float)]
            assert len(limited) == 3
            assert all(0 < answer <= 0.5 for answer in limited)

    @pytest.mark.parametrize("timeout", [-1, math.nan])
    async def test_an_invalid_timeout_is_an_error_of_the_engine(self, timeout: float) -> None:
        async with gate_for(Shop) as gate:
            with pytest.raises(ValueError, match="timeout is"):
                KeptConnection(gate).call("shop.price", "apple", timeout=timeout)
