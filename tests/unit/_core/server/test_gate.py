"""The steps of the gate, driven by a connection without an engine."""

from typing import Any

import msgspec
import pytest

from fastrpc import Admission, Limits, Memory, ServerConfig, Status
from fastrpc._core.base.histogram import OTHER_METHODS, default_registry
from fastrpc._core.server.served_call import ServerCall
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop
from tests.support.waiting import eventually

#: More output than `Memory.send_soft` has by default.
MUCH = 64 << 20


class TestSteps:
    async def test_a_call_that_passes_is_answered_before_begin_returns(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.price", "apple")
            assert connection.answers == [5]
            assert (gate.running, connection.held_bytes, connection.listed) == (0, 0, [])

    async def test_an_unknown_method_is_refused(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.prise", "apple")
            connection.reveals_services = True
            connection.call("shop.prise", "apple")
            hidden, shown = connection.refusals
            assert hidden == (Status.UNIMPLEMENTED, "no method 'shop.prise' here", True)
            assert shown[1] == "no method 'shop.prise' here; did you mean 'shop.price'?"
            assert gate.refusals.count == 2

    async def test_a_call_without_time_left_is_refused(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.price", "apple", timeout=0)
            text = "shop.price: its deadline passed before the handler started"
            assert connection.refusals == [(Status.DEADLINE_EXCEEDED, text, False)]
            assert (shop.started, gate.refusals.expired) == (0, 1)

    async def test_arguments_that_cannot_be_decoded_are_refused(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.price", 7)
            connection.call("shop.price")
            gate.begin(connection, method="shop.price", payload=b"\xc1", codec="msgpack")
            assert [(status, faulty) for status, _, faulty in connection.refusals] == [
                (Status.INVALID_ARGUMENT, True)
            ] * 3

    async def test_arguments_over_a_limit_are_refused_as_the_fault_of_the_caller(self) -> None:
        async with gate_for(Shop, config=ServerConfig(memory=Memory(items=10))) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.total", list(range(100)))
            [(status, text, is_faulty)] = connection.refusals
            assert (status, is_faulty) == (Status.RESOURCE_EXHAUSTED, True)
            assert text.startswith("shop.total: ")

    @pytest.mark.parametrize("codec", ["", "msgpack2", "protobuf"])
    async def test_a_codec_that_the_server_does_not_take_is_a_mistake_of_the_engine(self, codec: str) -> None:
        async with gate_for(Shop, config=ServerConfig(codecs=("msgpack", "json"))) as gate:
            with pytest.raises(ValueError, match=r"only msgpack, json|only json, msgpack"):
                gate.begin(KeptConnection(gate), method="shop.price", payload=b"", codec=codec)
            assert gate.running == 0

    async def test_every_codec_is_decoded_and_answered_in_kind(self) -> None:
        class Json(KeptConnection):
            def answer(self, call: ServerCall, payload: bytes) -> None:
                self.answers.append(payload)

        async with gate_for(Shop) as gate:
            connection = Json(gate)
            gate.begin(connection, method="shop.price", payload=b'["apple"]', codec="json")
            assert connection.answers == [b"5"]

    async def test_too_many_waiting_calls_are_refused_by_load(self) -> None:
        config = ServerConfig(admission=Admission(queue_length=2))
        shop = Shop()
        async with gate_for(shop, config=config) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, MUCH)
            for _ in range(3):
                connection.call("shop.price", "apple")
            assert (shop.started, gate.admission.waiting, len(connection.listed)) == (0, 2, 2)
            [(status, text, is_faulty)] = connection.refusals
            assert (status, is_faulty) == (Status.RESOURCE_EXHAUSTED, False)
            assert text.endswith("the server lets 2 wait (Admission.queue_length)")
            gate.weigh_output(connection, 0)
            await eventually(lambda: connection.answers == [5, 5])
            assert (gate.admission.waiting, connection.held_bytes) == (0, 0)

    async def test_a_call_that_waits_too_long_is_refused(self) -> None:
        async with gate_for(Shop, config=ServerConfig(admission=Admission(queue_age=0.01))) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, MUCH)
            connection.call("shop.price", "apple")
            await connection.wait()
            [(status, text, _)] = connection.refusals
            assert status is Status.RESOURCE_EXHAUSTED
            assert text.endswith("(Admission.queue_age)")

    async def test_a_call_whose_deadline_passes_in_the_queue_is_not_started(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, MUCH)
            call = connection.call("shop.price", "apple", timeout=0.001)
            await eventually(lambda: call.remaining() == 0)
            gate.weigh_output(connection, 0)
            await connection.wait()
            assert connection.refusals[0][0] is Status.DEADLINE_EXCEEDED
            assert shop.started == 0

    async def test_a_request_over_the_memory_of_its_connection_is_refused(self) -> None:
        config = ServerConfig(memory=Memory(request_bytes=1 << 20), limits=Limits(message_bytes=1 << 20))
        shop = Shop()
        async with gate_for(shop, config=config) as gate:
            connection, other = KeptConnection(gate), KeptConnection(gate)
            for _ in range(3):
                connection.call("shop.pack", "x" * 400_000)
            # Behind a stall of the machine the second one starts in a later turn.
            await eventually(lambda: shop.started == 2)
            assert connection.request_held > 800_000
            [(status, text, _)] = connection.refusals
            assert status is Status.RESOURCE_EXHAUSTED
            assert "(Memory.request_bytes)" in text
            other.call("shop.price", "apple")
            await eventually(lambda: other.answers == [5])
            shop.go_on.set()
            await eventually(lambda: len(connection.answers) == 2)
            assert connection.held_bytes == 0

    async def test_a_handler_that_holds_the_loop_delays_the_next_calls(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.stall")
            connection.call("shop.price", "apple")
            assert (gate.admission.waiting, connection.answers) == (1, [None])
            await eventually(lambda: connection.answers == [None, 5])


class TestBegin:
    @pytest.mark.parametrize("seconds", [1e9, 1e12, 1e14, 1e30, 1e300, float("inf")])
    async def test_a_timeout_of_ages_is_none(self, seconds: float) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate)
            connection.call("shop.look", timeout=seconds)
            assert (connection.answers, connection.refusals) == (["shop.look"], [])

    @pytest.mark.parametrize("seconds", [-1, -1e-9, float("nan")])
    async def test_an_invalid_timeout_is_a_mistake_of_the_engine(self, seconds: float) -> None:
        async with gate_for(Shop) as gate:
            with pytest.raises(ValueError, match="it must be a number of seconds from 0 on"):
                KeptConnection(gate).call("shop.price", "apple", timeout=seconds)

    async def test_limits_of_a_connection_hold_for_every_engine(self) -> None:
        limits = Limits(message_bytes=1 << 20, concurrent_calls=2, metadata_bytes=1_024)
        shop = Shop()
        async with gate_for(shop, config=ServerConfig(limits=limits)) as gate:
            connection, other = KeptConnection(gate), KeptConnection(gate)
            connection.call("shop.price", "x" * (1 << 20))
            connection.call("shop.price", "apple", metadata={"key": "x" * 1_024})
            for _ in range(3):
                connection.call("shop.pack", "apple")
            other.call("shop.price", "apple")
            size = (1 << 20) + 6
            assert connection.refusals == [
                (
                    Status.RESOURCE_EXHAUSTED,
                    f"the request has {size} bytes, the limit is 1048576 (Limits.message_bytes)",
                    True,
                ),
                (
                    Status.RESOURCE_EXHAUSTED,
                    "the metadata of the call is over the limit of 1024 bytes (Limits.metadata_bytes)",
                    True,
                ),
                (
                    Status.RESOURCE_EXHAUSTED,
                    "this connection has 2 calls in progress, the limit is 2 (Limits.concurrent_calls)",
                    False,
                ),
            ]
            await eventually(lambda: (shop.started, other.answers) == (3, [5]))
            shop.go_on.set()
            await eventually(lambda: len(connection.answers) == 2)
            connection.call("shop.price", "apple")
            assert connection.answers[-1] == 5

    async def test_waiting_calls_count_as_calls_in_progress(self) -> None:
        async with gate_for(Shop, config=ServerConfig(limits=Limits(concurrent_calls=2))) as gate:
            connection = KeptConnection(gate)
            gate.weigh_output(connection, MUCH)
            for _ in range(3):
                connection.call("shop.price", "apple")
            assert (gate.admission.waiting, len(connection.refusals)) == (2, 1)


class TestCounters:
    async def test_calls_count_at_the_gate_by_protocol_and_status(self) -> None:
        async with gate_for(Shop) as gate:
            connection = KeptConnection(gate, "counted")
            connection.call("shop.price", "apple")
            connection.call("shop.price", 7)
            connection.call("shop.price", "apple", timeout=0)
            connection.call("shop.nothing")
        prices = counted("shop.price", "counted")
        assert prices["calls"] == {"OK": 1, "INVALID_ARGUMENT": 1, "DEADLINE_EXCEEDED": 1}
        assert prices["in_flight"] == 0
        assert prices["sent_bytes"] == len(msgspec.msgpack.encode(5))
        unknown = counted(OTHER_METHODS, "counted")
        assert unknown["calls"] == {"UNIMPLEMENTED": 1}
        assert unknown["received_bytes"] == len(msgspec.msgpack.encode(()))

    async def test_exchanges_of_one_protocol_share_a_count(self) -> None:
        async with gate_for(Shop) as gate:
            for protocol in ("first", "second", "first"):
                KeptConnection(gate, protocol).call("shop.price", "apple")
        assert counted("shop.price", "first")["calls"] == {"OK": 2}
        assert counted("shop.price", "second")["calls"] == {"OK": 1}

    async def test_a_handler_under_way_is_in_flight_in_its_protocol(self) -> None:
        shop = Shop()
        async with gate_for(shop) as gate:
            connection = KeptConnection(gate, "slow")
            connection.call("shop.pack", "apple")
            assert counted("shop.pack", "slow")["in_flight"] == 1
            assert counted("shop.pack", "native")["in_flight"] == 0
            shop.go_on.set()
            await connection.wait()
            assert counted("shop.pack", "slow")["in_flight"] == 0


def counted(method: str, protocol: str) -> dict[str, Any]:
    return default_registry.counters(method, "server", protocol).snapshot()
