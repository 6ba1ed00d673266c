"""A connection whose call ids are used up: another one takes over and no call fails."""

import asyncio
import gc
from typing import Any

import pytest

from fastrpc import Client, SyncClient, method, service
from fastrpc._core.client.client_connection import ClientConnection
from fastrpc.config import Limits, ServerConfig
from fastrpc.testing import serving
from tests.support.served import served

LAST_ID = 2**63 - 1


@service("numbers")
class Numbers:
    @method
    async def echo(self, number: int) -> int:
        await asyncio.sleep(0.01)
        return number


def only(kind: type[Any]) -> Any:
    # Not isinstance, which evaluates attributes of objects of other tests.
    [found] = [found for found in gc.get_objects() if issubclass(type(found), kind) and found.is_usable]
    return found


@pytest.mark.parametrize("concurrent_calls", [2, 1_000])
async def test_calls_above_the_last_id_are_sent_on_another_connection(concurrent_calls: int) -> None:
    config = ServerConfig(limits=Limits(concurrent_calls=concurrent_calls, streams=1))
    async with served(Numbers(), config=config) as target, Client(target) as client:
        await client.call(Numbers.echo, 0)
        session = only(ClientConnection)
        session.slots.next_id = LAST_ID - 4

        assert await asyncio.gather(
            *[client.with_options(wait_for_ready=True).call(Numbers.echo, n) for n in range(9)]
        ) == list(range(9))
        while session.transport is not None:
            await asyncio.sleep(0.001)


def test_threads_with_calls_above_the_last_id_use_another_connection() -> None:
    with serving(Numbers()) as address, SyncClient(address) as client:
        client.call(Numbers.echo, 0)
        session = only(ClientConnection)
        session.slots.next_id = LAST_ID - 4

        patient = client.with_options(wait_for_ready=True)

        assert [patient.call(Numbers.echo, n) for n in range(9)] == list(range(9))
        assert not session.is_usable
