"""The wait for the calls of a removed service."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from fastrpc.server.removal import end_calls


class Looked:
    """An engine that counts the looks at its connection."""

    def __init__(self, *routes: object) -> None:
        self.looks = 0
        self._calls = tuple(SimpleCall(route) for route in routes)

    @property
    def connection(self) -> Any:
        self.looks += 1
        return SimpleNamespace(running=self._calls, waiting=())

    def end(self) -> None:
        self._calls = ()


class SimpleCall:
    def __init__(self, route: object) -> None:
        self.route = route


async def test_only_connections_with_its_calls_are_looked_at_again() -> None:
    route: Any = object()
    busy, others = Looked(route), [Looked(object()), Looked()]

    async def wait_until(condition: Callable[[], bool]) -> None:
        for _ in range(10):
            assert not condition()
        busy.end()
        assert condition()

    gate: Any = SimpleNamespace(engines={busy, *others}, dispatcher=SimpleNamespace(wait_until=wait_until))
    assert await end_calls(gate, frozenset({route}), 1.0, bool) is True
    assert busy.looks > 10
    assert [other.looks for other in others] == [1, 1]


async def test_calls_that_outlast_the_time_are_cut_off_on_open_connections() -> None:
    route: Any = object()
    busy = Looked(route)
    cut: list[int] = []

    async def wait_until(condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0)

    def cut_off(_connection: Any, _text: str, calls: set[Any]) -> None:
        cut.append(len(calls))
        busy.end()

    dispatcher = SimpleNamespace(wait_until=wait_until)
    gate: Any = SimpleNamespace(engines={busy}, dispatcher=dispatcher, end_calls=cut_off)
    assert await end_calls(gate, frozenset({route}), 0, bool) is False
    assert cut == [1]
