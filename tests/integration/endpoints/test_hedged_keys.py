"""The backup of a slow call with a key goes to the key's next endpoint, and the key returns to its own."""

import asyncio
from typing import Any

import pytest

from fastrpc import Backoff, Client, ClientConfig, Timeouts
from fastrpc.config import Pool, Retries
from fastrpc.failmodes import FailBackup
from tests.support.keyed import SELECTORS, Place, fresh, key_servers, places, proxied
from tests.support.waiting import eventually

pytestmark = [pytest.mark.one_loop, pytest.mark.parametrize("selector", SELECTORS)]

#: A backup for each call.
CONFIG = ClientConfig(
    backoff=Backoff(first=0.01, longest=0.05),
    timeouts=Timeouts(connect=20.0, call=40.0),
    pool=Pool(retries=Retries(budget_per_second=1_000), breaker=None, outlier=None),
)
HEDGED = {"config": CONFIG, "fail_mode": FailBackup(delay=0.01)}


async def own_places(client: Any, keys: Any) -> dict[Any, str]:
    """Return the server that answers each key without a backup."""
    return {
        key: await client.with_options(hash_key=key, fail_mode="failover").call(Place.name_of) for key in keys
    }


async def test_a_backup_goes_to_the_next_endpoint_of_its_key_and_the_key_returns(selector: str) -> None:
    keys = range(12)
    async with key_servers(4) as servers:
        expected = places(selector, servers.targets, keys)
        async with fresh("async", servers.targets, selector=selector, **HEDGED) as client:
            await eventually_connected(client)
            for key in keys:
                own = servers.places[expected[key]]
                own.go_on.clear()
                backup = places(selector, servers.targets, [key], [own.target])[key]
                assert await client.with_options(hash_key=key).call(Place.name_of) == backup
                own.go_on.set()
            assert await own_places(client, keys) == expected


async def test_a_stream_whose_first_message_is_slow_has_its_backup_at_the_next_endpoint(
    selector: str,
) -> None:
    keys = range(8)
    async with key_servers(4) as servers:
        expected = places(selector, servers.targets, keys)
        async with fresh("async", servers.targets, selector=selector, **HEDGED) as client:
            await eventually_connected(client)
            for key in keys:
                own = servers.places[expected[key]]
                own.go_on.clear()
                backup = places(selector, servers.targets, [key], [own.target])[key]
                async with client.with_options(hash_key=key).stream(Place.names) as stream:
                    assert [name async for name in stream] == [backup] * 2
                own.go_on.set()
            assert await own_places(client, keys) == expected


async def test_a_backup_passes_an_endpoint_that_cannot_be_reached(selector: str) -> None:
    async with key_servers(4) as servers:
        expected = places(selector, servers.targets, range(99))
        own = expected[7]
        lost = places(selector, servers.targets, [7], [own])[7]
        backup = places(selector, servers.targets, [7], [own, lost])[7]
        async with fresh("async", servers.targets, selector=selector, **HEDGED) as client:
            await eventually_connected(client)
            await servers.stop(lost)
            await eventually(lambda: sum(each.is_ready for each in client._pool.subchannels) == 3)
            servers.places[own].go_on.clear()
            assert await client.with_options(hash_key=7).call(Place.name_of) == backup
            servers.places[own].go_on.set()
            assert await own_places(client, [7]) == {7: own}


async def test_backups_of_calls_at_the_same_time_leave_other_keys_alone(selector: str) -> None:
    keys = range(12)
    async with key_servers(4) as servers:
        expected = places(selector, servers.targets, keys)
        slow = expected[0]
        there = [key for key in keys if expected[key] == slow][:2]
        others = [key for key in keys if expected[key] != slow]
        async with fresh("async", servers.targets, selector=selector, **HEDGED) as client:
            await eventually_connected(client)
            servers.places[slow].go_on.clear()
            calls = [client.with_options(hash_key=key).call(Place.name_of) for key in there]
            backups = places(selector, servers.targets, there, [slow])
            running = asyncio.gather(*calls)
            assert await own_places(client, others) == {key: expected[key] for key in others}
            assert await running == [backups[key] for key in there]
            servers.places[slow].go_on.set()
            assert await own_places(client, keys) == expected


async def test_a_first_call_whose_endpoint_connects_slowly_has_its_backup_at_the_next_one(
    selector: str,
) -> None:
    async with key_servers(4) as servers, proxied(servers.targets) as proxies:
        targets = list(proxies)
        own = places(selector, targets, [7])[7]
        backup = places(selector, targets, [7], [own])[7]
        proxies[own].downstream.hold()
        async with fresh("async", targets, selector=selector, **HEDGED) as client:
            assert await client.with_options(hash_key=7).call(Place.name_of) == proxies[backup].target
            proxies[own].downstream.resume()
            assert await own_places(client, [7]) == {7: proxies[own].target}


async def eventually_connected(client: Client) -> None:
    """Return once a client is connected to each endpoint."""
    await client.ready(20)
    await eventually(lambda: all(each.is_ready for each in client._pool.subchannels))
