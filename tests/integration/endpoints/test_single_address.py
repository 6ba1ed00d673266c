"""Clients with one fixed address: nothing to choose, and a breaker for those who ask for one."""

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, SyncClient
from fastrpc.config import Breaker, Pool
from fastrpc.testing import serving
from tests.support.served import served
from tests.support.who import Who

pytestmark = pytest.mark.one_loop

THREE = ClientConfig(pool=Pool(breaker=Breaker(consecutive=3, open_seconds=30)))


@pytest.mark.asyncio
async def test_breaker_that_was_asked_for_opens() -> None:
    who = Who("a")
    who.is_failing = True
    async with served(who, scheme="tcp") as target, Client(target, config=THREE) as client:
        for _ in range(3):
            with pytest.raises(fastrpc.CallError):
                await client.call(Who.name_of)
        with pytest.raises(fastrpc.CircuitOpenError):
            await client.call(Who.name_of)
        assert await client.call(Who.once) == "a"
    assert who.calls == 4


def test_breaker_that_was_asked_for_opens_without_a_loop() -> None:
    who = Who("a")
    who.is_failing = True
    with serving(who) as target, SyncClient(target, config=THREE) as client:
        for _ in range(3):
            with pytest.raises(fastrpc.CallError):
                client.call(Who.name_of)
        with pytest.raises(fastrpc.CircuitOpenError):
            client.call(Who.name_of)


@pytest.mark.asyncio
async def test_every_call_gets_the_servers_own_error_otherwise() -> None:
    who = Who("a")
    who.is_failing = True
    async with served(who, scheme="tcp") as target, Client(target) as client:
        for _ in range(30):
            with pytest.raises(fastrpc.CallError):
                await client.call(Who.name_of)
    assert who.calls == 30
