"""Connections whose outcomes go to Python: the methods of a subclass, and the effect of their errors."""

import asyncio
from typing import Any

import pytest

from fastrpc import Status
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.python_served_connection import PythonServedConnection
from fastrpc._core.server.served_call import ServerCall
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop
from tests.support.waiting import eventually

#: More output than `Memory.send_soft` has by default.
MUCH = 64 << 20


class Broken(KeptConnection):
    """An engine whose `fault` method raises."""

    def __init__(self, gate: Gate, fault: str, error: type[BaseException]) -> None:
        super().__init__(gate)
        self.abandoned = 0
        setattr(self, fault, lambda *arguments: self.fall(error))

    def fall(self, error: type[BaseException]) -> None:
        raise error("the engine fell")

    def abandon(self) -> None:
        self.abandoned += 1


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
    fault: str, method: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop()
    async with gate_for(shop) as gate:
        connection = Broken(gate, fault, error)
        connection.call(method, *([] if method in ("shop.crash", "shop.nothing") else ["apple"]))
        shop.go_on.set()
        await eventually(lambda: gate.running == 0)
        assert (connection.abandoned, gate.admission.waiting, connection.held_bytes) == (1, 0, 0)
        assert "internal error in a connection of protocol kept" in caplog.text


async def test_an_engine_that_fails_to_hold_a_waiting_call_leaves_it_in_the_queue() -> None:
    async with gate_for(Shop) as gate:
        connection = Broken(gate, "hold", RuntimeError)
        gate.weigh_output(connection, MUCH)
        connection.call("shop.price", "apple")
        assert (gate.admission.waiting, connection.abandoned) == (1, 1)
        gate.connection_lost(connection)
        assert (gate.admission.waiting, connection.held_bytes) == (0, 0)


async def test_an_engine_that_fails_to_release_is_abandoned() -> None:
    async with gate_for(Shop) as gate:
        connection = Broken(gate, "release", RuntimeError)
        connection.call("shop.price", "apple", one_way=True)
        connection.call("shop.nothing", one_way=True)
        assert (connection.abandoned, gate.running, connection.held_bytes) == (2, 0, 0)


@pytest.mark.parametrize(
    "act",
    [
        lambda connection, call: connection.answer(call, b""),
        lambda connection, call: connection.fail(call, Failure(1, "x")),
        lambda connection, call: connection.refuse(call, 1, "x", False),
    ],
)
async def test_an_engine_has_to_say_how_to_answer(act: Any) -> None:
    async with gate_for(Shop) as gate:
        call = KeptConnection(gate).call("shop.price", "apple")
        with pytest.raises(NotImplementedError, match="PythonServedConnection does not implement "):
            act(PythonServedConnection(gate, "none"), call)


async def test_a_refusal_is_a_failure_where_an_engine_makes_no_difference() -> None:
    class Plain(PythonServedConnection):
        told: Failure | None = None

        def fail(self, call: ServerCall, failure: Failure) -> None:
            self.told = failure

    async with gate_for(Shop) as gate:
        connection = Plain(gate, "plain")
        gate.begin(connection, method="shop.none", payload=b"", codec="msgpack")
        assert connection.told is not None
        assert (connection.told.status, connection.told.has_run) == (Status.UNIMPLEMENTED, False)
