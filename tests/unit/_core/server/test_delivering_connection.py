"""Calls that are messages: their outcomes go to the subclass, and nowhere once the connection is lost."""

from typing import Any

import msgspec
import pytest

from fastrpc._core.link.failure import Failure
from fastrpc._core.server.delivering_connection import DeliveringConnection
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.served_call import ServerCall
from fastrpc.status import Status
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop
from tests.support.waiting import eventually


class Messages(DeliveringConnection):
    """Keeps the outcome of each message."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate, "messages")
        self.outcomes: list[Any] = []

    def answer(self, call: ServerCall, payload: bytes) -> None:
        self.outcomes.append("handled")

    def fail(self, call: ServerCall, failure: Failure) -> None:
        self.outcomes.append(Status(failure.status).name)

    def refuse(self, call: ServerCall, status: int, text: str, is_faulty: bool) -> None:
        self.outcomes.append((Status(status).name, is_faulty))


def give(connection: DeliveringConnection, method: str, item: object = "apple") -> None:
    """Let a message come."""
    gate = connection.gate
    route = gate.routes.get(method)
    assert route is not None
    gate.deliver(gate.delivery(connection, route), msgspec.msgpack.encode([item]))


async def test_each_outcome_of_a_message_is_reported_once() -> None:
    async with gate_for(Shop) as gate:
        connection = Messages(gate)
        give(connection, "shop.price")
        give(connection, "shop.price", item=7)
        await eventually(lambda: len(connection.outcomes) == 2)
        assert connection.outcomes == ["handled", ("INVALID_ARGUMENT", True)]


async def test_the_end_of_its_calls_is_reported_as_a_failure() -> None:
    shop = Shop()
    async with gate_for(shop) as gate:
        connection = Messages(gate)
        give(connection, "shop.pack")
        await eventually(lambda: shop.started == 1)
        gate.end_calls(connection, "the house closes")
        await eventually(lambda: shop.cancelled == 1)
        assert connection.outcomes == ["UNAVAILABLE"]


async def test_nothing_is_reported_once_the_connection_is_lost() -> None:
    shop = Shop()
    async with gate_for(shop) as gate:
        connection = Messages(gate)
        give(connection, "shop.pack")
        await eventually(lambda: shop.started == 1)
        gate.connection_lost(connection)
        await eventually(lambda: shop.cancelled == 1)
        assert (connection.outcomes, connection.is_closed) == ([], True)


async def test_other_connections_take_no_messages() -> None:
    async with gate_for(Shop) as gate:
        connection: Any = KeptConnection(gate)
        with pytest.raises(ValueError, match="needs a call of a DeliveringConnection"):
            give(connection, "shop.price")


async def test_a_decoder_takes_its_call_and_no_result_brings_it_back() -> None:
    shop = Shop()
    async with gate_for(shop) as gate:
        connection = Messages(gate)
        give(connection, "shop.pack")
        await eventually(lambda: shop.started == 1)
        call, connection.decoded = connection.decoded, None
        assert call is not None
        assert call.route.method == "shop.pack"
        shop.go_on.set()
        await eventually(lambda: connection.outcomes == ["handled"])
        assert connection.decoded is None
