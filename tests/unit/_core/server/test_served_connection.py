"""The acts of an engine on its connection: cancel, drain, end; and the methods that it has to implement."""

import gc
import weakref
from typing import Any

import pytest

from fastrpc import Status
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_connection import ServedConnection
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop
from tests.support.waiting import eventually

#: More output than `Memory.send_soft` has by default.
MUCH = 64 << 20


class TestEnds:
    async def test_a_cancel_stops_the_handler(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            call = connection.call("shop.pack", "apple")
            gate.cancel_call(call)
            await connection.wait()
            assert call.cancelled
            assert connection.failures[0].status == Status.CANCELLED
            assert (shop.cancelled, gate.running) == (1, 0)

    async def test_a_cancel_for_the_deadline_carries_that_reason(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            gate.cancel_call(connection.call("shop.pack", "apple"), is_late=True)
            await connection.wait()
            assert connection.failures[0].status == Status.DEADLINE_EXCEEDED

    async def test_a_cancel_takes_a_call_out_of_the_queue(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, MUCH)
            call = connection.call("shop.price", "apple")
            gate.cancel_call(call)
            text = "shop.price was cancelled before it started"
            assert connection.refusals == [(Status.CANCELLED, text, False)]
            gate.weigh_output(connection, 0)
            connection.call("shop.count", "apple")
            assert (shop.started, gate.admission.waiting, connection.held_bytes) == (0, 0, 0)

    async def test_a_new_call_starts_after_those_that_waited(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, MUCH)
            connection.call("shop.pack", "apple")
            gate.weigh_output(connection, 0)
            # The one before starts in the next turn of the loop, this one was read before that.
            late = connection.call("shop.pack", "pear")
            assert connection.listed[-1] is late
            assert gate.running == 0
            await eventually(lambda: gate.running == 2)
            # Nothing waits any more, so that nothing is in the way.
            connection.call("shop.pack", "plum")
            assert gate.running == 3

    async def test_a_late_cancel_of_a_waiting_call_carries_that_reason(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, MUCH)
            gate.cancel_call(connection.call("shop.price", "apple"), is_late=True)
            text = "shop.price: its deadline passed before the handler started"
            assert connection.refusals == [(Status.DEADLINE_EXCEEDED, text, False)]
            assert gate.refusals.expired == 1

    async def test_a_call_that_the_engine_cancels_while_all_end_is_answered_once(self) -> None:
        class Cancelling(KeptConnection):
            other: ServerCall | None = None

            def refuse(self, call: ServerCall, status: int, text: str, is_faulty: bool) -> None:
                super().refuse(call, status, text, is_faulty)
                other, self.other = self.other, None
                if other is not None:
                    self.gate.cancel_call(other)

        async with gate_for(Shop) as gate:
            connection = Cancelling(gate)
            gate.weigh_output(connection, MUCH)
            connection.call("shop.price", "apple")
            connection.other = connection.call("shop.price", "pear")
            gate.end_calls(connection, "over")
            assert [status for status, _, _ in connection.refusals] == [Status.UNAVAILABLE, Status.CANCELLED]
            assert (connection.failures, gate.admission.waiting, connection.request_held) == ([], 0, 0)

    async def test_a_call_of_a_lost_connection_is_not_started(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            gate.connection_lost(connection)
            connection.call("shop.pack", "apple")
            connection.call("shop.nothing")
            assert (shop.started, gate.running, gate.refusals.count, connection.held_bytes) == (0, 0, 2, 0)
            assert (connection.answers, connection.failures, connection.refusals) == ([], [], [])

    async def test_a_cancel_of_an_answered_call_changes_nothing(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            gate.cancel_call(connection.call("shop.price", "apple"))
            assert (connection.answers, connection.failures, connection.refusals) == ([5], [], [])

    async def test_a_deadline_ends_the_handler(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.pack", "apple", timeout=0.01)
            await connection.wait()
            assert connection.failures[0].status == Status.DEADLINE_EXCEEDED

    async def test_handlers_learn_of_a_drain(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.linger")
            assert connection.answers == []
            connection.note_drain()
            await connection.wait()
            assert connection.answers == ["drained"]

    async def test_no_call_starts_once_the_connection_drains(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, MUCH)
            connection.call("shop.price", "apple")
            connection.note_drain()
            connection.call("shop.price", "pear")
            connection.call("shop.prise", "pear")
            assert [(status, text) for status, text, _ in connection.refusals] == [
                (Status.UNAVAILABLE, "the server drains"),
                (Status.UNIMPLEMENTED, "no method 'shop.prise' here"),
            ]
            gate.weigh_output(connection, 0)
            await connection.wait()
            await eventually(lambda: connection.answers == [5])

    async def test_the_end_of_a_drain_answers_each_call_once(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.pack", "apple")
            gate.weigh_output(connection, MUCH)
            connection.call("shop.price", "apple")
            gate.end_calls(connection, "over")
            assert [(failure.status, failure.text) for failure in connection.failures] == [
                (Status.UNAVAILABLE, "over")
            ]
            assert connection.refusals == [(Status.UNAVAILABLE, "over", False)]
            gate.end_calls(connection, "over")
            await eventually(lambda: gate.running == 0)
            assert (len(connection.failures), len(connection.refusals), shop.cancelled) == (1, 1, 1)

    async def test_a_lost_connection_stops_its_handlers_and_gets_no_answers(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection, other = KeptConnection(gate), KeptConnection(gate)
            connection.call("shop.pack", "apple")
            other.call("shop.pack", "pear")
            gate.weigh_output(connection, MUCH)
            connection.call("shop.price", "apple")
            gate.connection_lost(connection)
            await eventually(lambda: shop.cancelled == 1)
            assert (connection.answers, connection.failures, connection.refusals) == ([], [], [])
            assert (connection.is_closed, gate.admission.waiting, connection.held_bytes) == (True, 0, 0)
            shop.go_on.set()
            await other.wait()
            assert other.answers == ["packed pear"]

    async def test_a_connection_is_not_kept_after_its_calls(self) -> None:
        async with gate_for(Shop) as gate:
            connection: KeptConnection | None = KeptConnection(gate)
            assert connection is not None
            connection.call("shop.price", "apple")
            connection.call("shop.look")
            gone = weakref.ref(connection)
            connection = None
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
            connection = KeptConnection(gate)
            call = connection.call(method, argument, one_way=True, **options)
            assert connection.released == [call]
            assert (connection.answers, connection.failures, connection.refusals) == ([], [], [])

    async def test_a_waiting_one_way_call_is_released_at_the_end(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, MUCH)
            call = connection.call("shop.price", "apple", one_way=True)
            assert connection.released == []
            gate.end_calls(connection, "over")
            gate.end_calls(connection, "over")
            assert (connection.released, connection.refusals) == ([call], [])


class TestExchange:
    async def test_a_connection_knows_its_protocol_and_its_gate(self) -> None:
        async with gate_for(Shop) as gate:
            connection = ServedConnection(gate, "toy")
            assert (connection.protocol, connection.gate) == ("toy", gate)
            assert isinstance(gate, Gate)


class Bare(ServedConnection):
    """A connection whose outcomes lack all methods."""

    abandoned = 0

    def abandon(self) -> None:
        self.abandoned += 1


@pytest.mark.parametrize(
    ("method", "lacks"), [("shop.none", "refuse"), ("shop.crash", "fail"), ("shop.price", "answer")]
)
async def test_an_outcome_that_cannot_be_sent_ends_the_connection(
    method: str, lacks: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with gate_for(Shop) as gate:
        connection = Bare(gate, "bare")
        payload = b"\x91\xa5apple" if method == "shop.price" else b"\x90"
        gate.begin(connection, method=method, payload=payload, codec="msgpack")
        assert f"Outcomes does not implement {lacks}()" in caplog.text
        assert (connection.abandoned, gate.running, connection.held_bytes) == (1, 0, 0)
