"""Calls that wait for a server while a registry brings other lists."""

import asyncio
from typing import Any

import pytest

from fastrpc import Backoff, Client, ClientConfig, SyncClient
from fastrpc.registries import StaticRegistry
from tests.support.either_client import CLIENTS, Stepped
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.who import Who

pytestmark = pytest.mark.one_loop

QUICK = ClientConfig(backoff=Backoff(first=0.01, longest=0.05))


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_waiting_call_goes_to_a_server_that_is_listed_later(kind: str) -> None:
    registry = StaticRegistry({"who": ["tcp://127.0.0.1:9"]})
    client: Any = (Client if kind == "async" else SyncClient)("who", registry=registry, config=QUICK)
    caller, pool = client if kind == "async" else Stepped(client), client._pool
    async with served(Who("later"), scheme="tcp") as target:
        view = caller.with_options(wait_for_ready=True, timeout=20)
        asking = asyncio.ensure_future(view.call(Who.name_of))
        try:
            await eventually(lambda: any(each.failures for each in pool.subchannels))
            registry.update("who", [])
            await eventually(lambda: not pool.subchannels)
            registry.update("who", [target])
            assert await asking == "later"
        finally:
            if kind == "async":
                await client.close()
            else:
                await asyncio.to_thread(client.close)
            await asyncio.wait([asking])
