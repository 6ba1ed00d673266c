"""Calls that are not started: their counts and their answers."""

from typing import Any

from fastrpc import Status
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.shop import Shop


class Watch:
    """Keeps the refusals of which it is notified."""

    def __init__(self) -> None:
        self.refusals: list[tuple[int, str]] = []

    def refused(self, call: Any, status: int, text: str) -> None:
        self.refusals.append((status, text))


class ClosedConnection(KeptConnection):
    """Fails to refuse a call."""

    def refuse(self, call: Any, status: int, text: str, is_faulty: bool) -> None:
        raise RuntimeError("the connection is gone")

    def abandon(self) -> None:
        self.ends.set()


async def test_a_refused_call_counts_as_started_and_ended_by_the_protocol_of_its_connection() -> None:
    async with gate_for(Shop) as gate:
        connection = KeptConnection(gate, "kept-here")
        by_method = gate.counters.by_method("kept-here")
        assert by_method == {}
        for method in ("shop.none", "shop.price"):
            gate.begin(connection, method=method, payload=b"\xc1", codec="msgpack")
        counted = {name: counters.snapshot()["calls"] for name, counters in by_method.items()}
        assert sorted(counted.values(), key=str) == [{"INVALID_ARGUMENT": 1}, {"UNIMPLEMENTED": 1}]
        assert [counters.in_flight for counters in by_method.values()] == [0, 0]
        assert gate.counters.by_method("kept-here") is by_method


async def test_native_calls_are_counted_by_their_routes_alone() -> None:
    async with gate_for(Shop) as gate:
        assert gate.counters.by_method("native") is None


async def test_each_refusal_is_counted_and_shown_to_the_watch() -> None:
    async with gate_for(Shop) as gate:
        watch = gate.refusals.watch = Watch()
        connection = KeptConnection(gate)
        connection.call("shop.none")
        connection.call("shop.price", "apple", timeout=0.0)
        assert [Status(status) for status, _ in watch.refusals] == [
            Status.UNIMPLEMENTED,
            Status.DEADLINE_EXCEEDED,
        ]
        assert [text for _, text in watch.refusals] == [text for _, text, _ in connection.refusals]
        assert (gate.refusals.count, gate.refusals.expired) == (2, 1)


async def test_a_call_whose_refusal_fails_is_counted_once() -> None:
    async with gate_for(Shop) as gate:
        connection = ClosedConnection(gate)
        connection.call("shop.none")
        await connection.wait()
        assert gate.refusals.count == 1
