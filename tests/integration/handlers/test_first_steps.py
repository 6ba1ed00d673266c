"""Handlers whose first step cannot be taken: the caller gets an error, and the connection stays usable."""

import asyncio
import inspect
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, Status
from tests.support.served import served

pytestmark = pytest.mark.one_loop


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    async def odd(self, a: int) -> int:
        return a

    @fastrpc.method
    async def later(self, a: int) -> int:
        await asyncio.sleep(0)
        return a


def refuse_to_tell(_: object) -> type:
    raise KeyError("who asks?")


def handler_that_returns(value: object) -> Any:
    """Return an object that `inspect` takes for a coroutine function, as decorators make them, though it is none."""
    members = {
        "__class__": property(lambda _: FunctionType),
        "__code__": SimpleNamespace(co_flags=inspect.CO_COROUTINE),
        "__call__": lambda _, a: value,
    }
    return type("Handler", (), members)()


#: Classes that are called when a test runs: pytest inspects the given values, and one of these fails then.
VALUES = {
    "evasive": type("Evasive", (), {"__class__": property(refuse_to_tell)}),
    "number": int,
    "list": list,
}


@pytest.mark.parametrize("kind", VALUES)
async def test_a_handler_that_returns_no_coroutine_fails_only_its_call(kind: str) -> None:
    arith = Arith()
    vars(arith)["odd"] = handler_that_returns(VALUES[kind]())
    async with served(arith, scheme="tcp") as target, Client(target) as client:
        await client.ready()
        session = client._pool.connections[0]
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(
                client.call(Arith.later, 1),
                client.call(Arith.odd, 2),
                client.call(Arith.mul, 6, 7),
                return_exceptions=True,
            )
        assert outcomes[0] == 1
        assert isinstance(outcomes[1], CallError)
        assert outcomes[1].status is Status.INTERNAL
        assert outcomes[2] == 42
        assert client._pool.connections == [session]
        assert target.server.stats()["live"]["calls"] == 0
