"""A thousand keys at four servers: over many reconnects, and while one server is down."""

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Any

import pytest

from fastrpc import Backoff, ClientConfig, SyncClient, Timeouts
from tests.support.either_client import CLIENTS, Stepped
from tests.support.keyed import SELECTORS, Place, fresh, key_servers, places, silent_listener
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.one_loop,
    pytest.mark.parametrize("selector", SELECTORS),
    pytest.mark.parametrize("kind", CLIENTS),
]

KEYS = range(1_000)
RECONNECTS = 20


async def timed(client: Any, keys: Iterable[int]) -> dict[int, tuple[str, float]]:
    """Return the server that answers each key, and how long that took."""
    found = {}
    if isinstance(client, Stepped):
        blocking: SyncClient = client.client

        def call_all() -> dict[int, tuple[str, float]]:
            for key in keys:
                began = time.perf_counter()
                place = blocking.with_options(hash_key=key).call(Place.name_of)
                found[key] = place, time.perf_counter() - began
            return found

        return await asyncio.to_thread(call_all)
    for key in keys:
        began = time.perf_counter()
        place = await client.with_options(hash_key=key).call(Place.name_of)
        found[key] = place, time.perf_counter() - began
    return found


async def elsewhere(client: Any, expected: dict[int, str]) -> list[int]:
    """Return the keys that another server answers."""
    found = await timed(client, expected)
    return [key for key, place in expected.items() if found[key][0] != place]


async def connected_again(client: Any, targets: list[str]) -> None:
    """Return once a client is connected everywhere; the client of a thread connects in its calls."""
    if isinstance(client, Stepped):
        for target in targets:
            await client.with_options(endpoint=target, wait_for_ready=True).call(Place.name_of)
    pool = (client.client if isinstance(client, Stepped) else client)._pool
    await eventually(lambda: all(each.is_ready for each in pool.subchannels))


async def test_no_key_is_elsewhere_after_a_reconnect(kind: str, selector: str) -> None:
    chance = random.Random(selector)
    config = ClientConfig(timeouts=Timeouts(connect=20.0, call=40.0))
    async with key_servers(4) as servers:
        expected = places(selector, servers.targets, KEYS)
        async with fresh(kind, servers.targets, selector=selector, config=config) as client:
            assert await elsewhere(client, expected) == []
            for _ in range(RECONNECTS):
                for target in chance.sample(servers.targets, chance.randrange(1, 4)):
                    await servers.restart(target)
                await connected_again(client, servers.targets)
                assert await elsewhere(client, expected) == []


@pytest.mark.measures
@pytest.mark.parametrize("is_silent", [False, True], ids=["refusing", "silent"])
async def test_only_the_first_call_waits_for_a_server_that_is_down(
    kind: str, selector: str, is_silent: bool
) -> None:
    config = ClientConfig(timeouts=Timeouts(connect=1.0, call=20.0), backoff=Backoff(first=0.05, longest=0.5))
    async with key_servers(4, down=[1]) as servers:
        down = servers.targets[1]
        if is_silent:
            with silent_listener(down):
                await _check(kind, selector, servers.targets, down, config)
        else:
            await _check(kind, selector, servers.targets, down, config)


async def _check(kind: str, selector: str, targets: list[str], down: str, config: ClientConfig) -> None:
    expected = places(selector, targets, KEYS, [down])
    for first in (None, down):
        order = list(KEYS)
        if first is not None:
            order.sort(key=lambda key: places(selector, targets, [key])[key] != first)
        async with fresh(kind, targets, selector=selector, config=config) as client:
            found = await timed(client, order)
        assert {key: place for key, (place, _) in found.items()} == expected
        waited = sorted((seconds for _, seconds in found.values()), reverse=True)
        assert waited[0] < 1.5
        assert waited[1] < 0.4
