"""Where the first calls of a client go, while its connections are being made."""

from contextlib import AsyncExitStack

import pytest

from fastrpc import Client, Endpoint
from tests.support.served import served
from tests.support.who import Who

pytestmark = pytest.mark.asyncio


async def test_weighted_begins_with_the_classical_sequence() -> None:
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(served(Who(name), scheme="tcp")) for name in "abc"]
        endpoints = [
            Endpoint(address, weight=weight) for address, weight in zip(addresses, (5, 1, 1), strict=True)
        ]
        client = await stack.enter_async_context(Client(endpoints, selector="weighted"))
        assert "".join([await client.call(Who.once) for _ in range(14)]) == "aabacaa" * 2


async def test_round_robin_goes_round_from_the_first_call_on() -> None:
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(served(Who(name), scheme="tcp")) for name in "abc"]
        client = await stack.enter_async_context(Client(addresses))
        names = "".join([await client.call(Who.once) for _ in range(9)])
        assert names in "abc" * 4
