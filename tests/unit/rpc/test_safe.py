"""`@method(safe=True)`: its effects, and methods that cannot be safe."""

from collections.abc import AsyncIterator
from typing import Protocol

import pytest

import fastrpc
from fastrpc.rpc.description import describe
from fastrpc.rpc.service import method_definition, service_definition


@fastrpc.service("shop")
class Shop(Protocol):
    @fastrpc.method(safe=True)
    async def price(self, item: str) -> float: ...

    @fastrpc.method(idempotent=True)
    async def put(self, item: str) -> None: ...


def test_a_safe_method_is_idempotent() -> None:
    price, put = method_definition(Shop.price), method_definition(Shop.put)
    assert (price.safe, price.idempotent) == (True, True)
    assert (put.safe, put.idempotent) == (False, True)
    assert [one["safe"] for one in describe(Shop)["methods"]] == [True, False]


def test_an_implementation_is_as_safe_as_its_contract() -> None:
    @fastrpc.service("shop")
    class Derived(Shop):
        async def price(self, item: str) -> float:
            return 1.0

    assert service_definition(Derived).methods["price"].safe


def test_a_safe_method_cannot_be_said_not_to_be_idempotent() -> None:
    with pytest.raises(TypeError, match=r"is safe, so it is idempotent: leave idempotent=False out"):

        class Refused:
            @fastrpc.method(safe=True, idempotent=False)
            async def f(self) -> None: ...


def test_a_method_that_takes_a_stream_cannot_be_safe() -> None:
    with pytest.raises(TypeError, match=r"takes the stream 'lines', which a GET cannot send"):

        class Refused:
            @fastrpc.method(safe=True)
            async def load(self, lines: AsyncIterator[str]) -> None: ...
