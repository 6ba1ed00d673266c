"""A dataclass that is sent on arrives as it was, defaults included, on either side and by either codec."""

from dataclasses import dataclass, field
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, SyncClient
from fastrpc.testing import connected
from tests.support.served import served
from tests.support.threaded_server import ThreadedServer

pytestmark = pytest.mark.one_loop


@dataclass
class Money:
    amount: int
    currency: str = "EUR"


@dataclass
class Bill:
    total: Money
    parts: list[Money] = field(default_factory=list)
    tip: Money | None = None
    paid: bool = False


@fastrpc.service("bank")
class Bank:
    @fastrpc.method
    async def echo(self, money: Money) -> Money:
        return money

    @fastrpc.method
    async def send_on(self, bill, *, tip: Money | None = None):  # type: ignore[no-untyped-def]
        return {"bill": bill, "tip": tip}

    @fastrpc.method
    async def fields(self, bill: Bill) -> list[str]:
        return sorted([*vars(bill), *vars(bill.total), *(name for part in bill.parts for name in vars(part))])

    @fastrpc.method
    async def bill(self, amount: int) -> Bill:
        return {"total": {"amount": amount}, "parts": [{"amount": 1}]}  # type: ignore[return-value]

    @fastrpc.method
    def slow_echo(self, money: Money, copies: int = 2) -> list[Money]:
        return [money] * copies


MONEY = {"amount": 5, "currency": "EUR"}


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_defaults_left_out_by_the_caller_come_back(codec: str) -> None:
    async with connected(Bank) as plain:
        client = plain.with_options(codec=codec)
        assert await client.call("bank.echo", {"amount": 5}) == MONEY
        assert await client.call("bank.echo", money={"amount": 5}) == MONEY
        assert await client.call("bank.slow_echo", {"amount": 5}) == [MONEY] * 2
        assert await client.call("bank.slow_echo", {"amount": 5}, copies=1) == [MONEY]
        assert await client.call_many("bank.echo", [({"amount": 5},)] * 3) == [MONEY] * 3
        assert await client.call("bank.send_on", 1, tip={"amount": 5}) == {"bill": 1, "tip": MONEY}


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_inner_dataclasses_are_complete_for_the_handler(codec: str) -> None:
    async with connected(Bank) as plain:
        client = plain.with_options(codec=codec)
        found = await client.call("bank.fields", {"total": {"amount": 1}, "parts": [{"amount": 2}]})
        assert found == sorted(["total", "parts", "tip", "paid", *["amount", "currency"] * 2])


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_a_result_is_complete_for_the_caller(codec: str) -> None:
    async with connected(Bank) as plain:
        client = plain.with_options(codec=codec)
        bill = await client.call(Bank.bill, 7)
        assert vars(bill.total) == {"amount": 7, "currency": "EUR"}
        assert vars(bill) == {"total": Money(7), "parts": [Money(1)], "tip": None, "paid": False}
        # Sent on, nothing is lost.
        assert await client.call("bank.send_on", bill) == {
            "bill": {
                "total": {**MONEY, "amount": 7},
                "parts": [{**MONEY, "amount": 1}],
                "tip": None,
                "paid": False,
            },
            "tip": None,
        }


@pytest.mark.parametrize("scheme", ["tcp", "unix", "memory"])
async def test_echoed_dataclasses_are_complete_over_each_transport(scheme: str) -> None:
    async with served(Bank, scheme=scheme) as target, Client(target) as client:
        assert vars(await client.call(Bank.echo, Money(5))) == MONEY
        assert await client.call("bank.echo", {"amount": 5}) == MONEY


def test_a_blocking_client_gets_complete_dataclasses() -> None:
    with ThreadedServer(Bank) as server, SyncClient(server.address) as client:
        assert client.call("bank.echo", {"amount": 5}) == MONEY
        bill: Any = client.call(Bank.bill, 7)
        assert vars(bill.total) == {"amount": 7, "currency": "EUR"}
        assert [vars(money) for money in client.call_many(Bank.echo, [(Money(5),)] * 2)] == [MONEY] * 2
