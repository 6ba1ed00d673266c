"""Calls with a key go to the key's endpoint, in any order of connecting, and only keys of lost endpoints move."""

import asyncio
import contextlib
import random
from typing import Any

import pytest

import fastrpc
from fastrpc import Backoff, ClientConfig, Timeouts
from fastrpc.client.endpoint_plan import EndpointPlan
from fastrpc.client.key_wait import KeyWait
from fastrpc.config import Breaker, Pool, Retries
from fastrpc.failmodes import FailFast
from fastrpc.registries import StaticRegistry
from tests.conftest import Scale
from tests.support.either_client import CLIENTS, Stepped, taken
from tests.support.keyed import SELECTORS, Place, fresh, key_servers, places, proxied, silent_listener
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.one_loop,
    pytest.mark.parametrize("selector", SELECTORS),
    pytest.mark.parametrize("kind", CLIENTS),
]

QUICK = ClientConfig(backoff=Backoff(first=0.01, longest=0.05), timeouts=Timeouts(connect=20.0, call=40.0))

#: Servers that fail are dialled again after the test only.
ONCE = ClientConfig(backoff=Backoff(first=30.0), timeouts=Timeouts(connect=20.0, call=40.0))


async def placed(client: Any, keys: Any, **options: Any) -> dict[Any, str]:
    """Return the server that answers each key."""
    return {key: await client.with_options(hash_key=key, **options).call(Place.name_of) for key in keys}


def subchannels_of(client: Any) -> list[Any]:
    found: list[Any] = (client.client if isinstance(client, Stepped) else client)._pool.subchannels
    return found


async def connected_again(client: Any, targets: list[str]) -> None:
    """Return once a client is connected everywhere; the client of a thread connects in its calls."""
    if isinstance(client, Stepped):
        for target in targets:
            await client.with_options(endpoint=target, wait_for_ready=True).call(Place.name_of)
    await eventually(lambda: all(each.is_ready for each in subchannels_of(client)))


async def test_the_first_call_of_a_client_goes_to_the_endpoint_of_its_key(kind: str, selector: str) -> None:
    keys = range(12)
    async with key_servers(4) as servers:
        expected = places(selector, servers.targets, keys)
        for key in keys:
            async with fresh(kind, servers.targets, selector=selector, config=QUICK) as client:
                assert await placed(client, [key]) == {key: expected[key]}


async def test_the_first_call_that_may_not_run_twice_goes_to_the_endpoint_of_its_key(
    kind: str, selector: str
) -> None:
    async with key_servers(4) as servers:
        expected = places(selector, servers.targets, range(8))
        for key in range(8):
            async with fresh(kind, servers.targets, selector=selector, config=QUICK) as client:
                assert await client.with_options(hash_key=key).call(Place.once) == expected[key]


async def test_first_calls_at_the_same_time_all_go_to_the_endpoints_of_their_keys(
    kind: str, selector: str
) -> None:
    async with key_servers(4) as servers:
        found = places(selector, servers.targets, range(99))
        # At most the share that an endpoint takes of a ring for any bound.
        expected: dict[Any, str] = {}
        for target in servers.targets:
            expected.update([(key, place) for key, place in found.items() if place == target][:4])
        async with fresh(kind, servers.targets, selector=selector, config=QUICK) as client:
            calls = [client.with_options(hash_key=key).call(Place.name_of) for key in expected]
            assert await asyncio.gather(*calls) == list(expected.values())


@pytest.mark.parametrize("method", [Place.name_of, Place.once])
@pytest.mark.parametrize("held", ["upstream", "downstream"])
async def test_the_first_call_waits_for_the_endpoint_of_its_key_while_other_endpoints_are_connected(
    kind: str, selector: str, held: str, method: Any
) -> None:
    async with key_servers(4) as servers, proxied(servers.targets) as proxies:
        targets = list(proxies)
        own = places(selector, targets, [7])[7]
        others = [target for target in targets if target != own]
        # Its server, or its first answer, comes last.
        getattr(proxies[own], held).hold()
        async with fresh(kind, targets, selector=selector, config=QUICK) as client:
            for target in others:
                await client.with_options(endpoint=target, wait_for_ready=True).call(Place.name_of)
            ready = [each for each in subchannels_of(client) if each.is_ready]
            assert [str(each.endpoint) for each in ready] == others
            call = asyncio.ensure_future(client.with_options(hash_key=7).call(method))
            [plan] = [each for each in subchannels_of(client) if str(each.endpoint) == own]
            await eventually(lambda: plan.awaited_since is not None and proxies[own].accepted)
            assert not call.done()
            getattr(proxies[own], held).resume()
            assert await call == proxies[own].target


async def test_first_batches_and_streams_go_to_the_endpoint_of_their_key(kind: str, selector: str) -> None:
    async with key_servers(4) as servers:
        expected = places(selector, servers.targets, range(8))
        for key in expected:
            async with fresh(kind, servers.targets, selector=selector, config=QUICK) as client:
                assert (
                    await client.with_options(hash_key=key).call_many(Place.name_of, [(), ()])
                    == [expected[key]] * 2
                )
            async with fresh(kind, servers.targets, selector=selector, config=QUICK) as client:
                async with client.with_options(hash_key=key).stream(Place.names) as stream:
                    assert await taken(stream) == [expected[key]] * 2


async def test_keys_stay_when_endpoints_connect_again(kind: str, selector: str, scale: Scale) -> None:
    keys, chance = range(scale(60)), random.Random(selector)
    async with key_servers(4) as servers:
        expected = places(selector, servers.targets, keys)
        async with fresh(kind, servers.targets, selector=selector, config=QUICK) as client:
            for _ in range(4):
                assert await placed(client, keys) == expected
                for target in chance.sample(servers.targets, chance.randrange(1, 3)):
                    await servers.restart(target)
                await connected_again(client, servers.targets)
            assert await placed(client, keys) == expected


async def test_only_keys_of_a_server_that_refuses_move_and_they_return(kind: str, selector: str) -> None:
    keys = range(60)
    async with key_servers(4, down=[1]) as servers:
        expected = places(selector, servers.targets, keys)
        meanwhile = places(selector, servers.targets, keys, [servers.targets[1]])
        assert {key for key in keys if expected[key] != meanwhile[key]} == {
            key for key in keys if expected[key] == servers.targets[1]
        }
        async with fresh(kind, servers.targets, selector=selector, config=QUICK) as client:
            assert await placed(client, keys) == meanwhile
            await servers.start(servers.targets[1])
            async with asyncio.timeout(20):
                while await placed(client, keys) != expected:
                    await asyncio.sleep(0)


async def test_keys_of_a_server_that_stays_silent_go_to_their_next_endpoint(kind: str, selector: str) -> None:
    keys = range(60)
    config = ClientConfig(timeouts=Timeouts(connect=0.3, call=30.0), backoff=Backoff(first=30.0))
    async with key_servers(4, down=[2]) as servers:
        with silent_listener(servers.targets[2]):
            meanwhile = places(selector, servers.targets, keys, [servers.targets[2]])
            async with fresh(kind, servers.targets, selector=selector, config=config) as client:
                # The other endpoints are connected: a stall of this machine must not make them silent.
                for target in servers.targets[:2] + servers.targets[3:]:
                    await client.with_options(endpoint=target, wait_for_ready=True).call(Place.name_of)
                assert await placed(client, keys) == meanwhile


async def test_the_first_call_passes_all_servers_that_stay_silent(kind: str, selector: str) -> None:
    config = ClientConfig(timeouts=Timeouts(connect=0.3, call=30.0), backoff=Backoff(first=30.0))
    async with key_servers(4, down=[0, 1, 2]) as servers:
        with contextlib.ExitStack() as stack:
            for target in servers.targets[:3]:
                stack.enter_context(silent_listener(target))
            for key in range(2):
                async with fresh(kind, servers.targets, selector=selector, config=config) as client:
                    assert await placed(client, [key], timeout=20.0) == {key: servers.targets[3]}


async def test_a_call_waits_no_longer_than_half_of_its_time(kind: str, selector: str) -> None:
    async with key_servers(2, down=[0]) as servers:
        key = next(
            k
            for k, target in places(selector, servers.targets, range(99)).items()
            if target == servers.targets[0]
        )
        with silent_listener(servers.targets[0]):
            async with fresh(kind, servers.targets, selector=selector, config=ONCE) as client:
                await client.with_options(endpoint=servers.targets[1]).call(Place.name_of)
                view = client.with_options(hash_key=key, timeout=3.0)
                assert await view.call(Place.name_of) == servers.targets[1]
                assert await view.call(Place.once) == servers.targets[1]


class CountedWait(KeyWait):
    """A wait that is over after a number of looks at it."""

    looks_left = 0

    def ends(self, endpoint: EndpointPlan, now: float, seconds_left: float | None) -> float | None:
        type(self).looks_left -= 1
        return now + 0.02 if endpoint.is_expected and self.looks_left >= 0 else None


@pytest.mark.parametrize("is_preferred", [False, True])
async def test_a_wait_that_ends_between_two_looks_is_over(
    kind: str, selector: str, is_preferred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call goes to an endpoint that accepts connections and stays silent."""
    monkeypatch.setattr("fastrpc.client.key_wait.KeyWait", CountedWait)
    async with key_servers(2, down=[0]) as servers:
        silent, other = servers.targets
        wanted = other if is_preferred else silent
        key = next(
            k for k, target in places(selector, servers.targets, range(99)).items() if target == wanted
        )
        options = {"hash_key": key, "timeout": 4.0, **({"prefer": silent} if is_preferred else {})}
        with silent_listener(silent):
            # Both clients look when they pick, before the wait begins, and when it is over: some six times in all.
            for looks in range(4, 10):
                async with fresh(kind, servers.targets, selector=selector, config=ONCE) as client:
                    await client.with_options(endpoint=other).call(Place.name_of)
                    monkeypatch.setattr(CountedWait, "looks_left", looks)
                    assert await client.with_options(**options).call(Place.name_of) == other
                    assert CountedWait.looks_left < 0


async def test_a_failed_attempt_goes_to_the_next_endpoint_of_its_key(kind: str, selector: str) -> None:
    keys = range(20)
    config = ClientConfig(pool=Pool(breaker=None, outlier=None, retries=Retries(budget_per_second=1_000)))
    async with key_servers(4) as servers:
        expected = places(selector, servers.targets, keys)
        async with fresh(kind, servers.targets, selector=selector, config=config) as client:
            assert await placed(client, keys) == expected
            for target in servers.targets:
                servers.places[target].is_gone = True
                there = [key for key in keys if expected[key] == target]
                assert await placed(client, there) == places(selector, servers.targets, there, [target])
                servers.places[target].is_gone = False


async def test_keys_of_an_open_breaker_go_to_their_next_endpoint(kind: str, selector: str) -> None:
    keys = range(30)
    config = ClientConfig(pool=Pool(breaker=Breaker(consecutive=2, open_seconds=100), outlier=None))
    async with key_servers(4) as servers:
        expected = places(selector, servers.targets, keys)
        bad = expected[0]
        servers.places[bad].is_failing = True
        async with fresh(kind, servers.targets, selector=selector, config=config) as client:
            failures: list[str] = []
            # On a busy machine a dial may fail as well, which says nothing about the breaker.
            while failures.count("INTERNAL: broken") < 2:
                with pytest.raises(fastrpc.CallError) as failed:
                    await client.with_options(hash_key=0, fail_mode=FailFast()).call(Place.name_of)
                failures.append(str(failed.value).partition(" (")[0])
                assert len(failures) < 20, failures
            assert await placed(client, keys) == places(selector, servers.targets, keys, [bad])


async def test_a_call_fails_at_once_where_nothing_is_reachable(kind: str, selector: str) -> None:
    async with key_servers(3, down=range(3)) as servers:
        async with fresh(kind, servers.targets, selector=selector, config=ONCE) as client:
            for _ in range(2):
                with pytest.raises(fastrpc.ConnectError, match="no endpoint could be reached"):
                    await client.with_options(hash_key=7).call(Place.name_of)


async def test_a_call_that_waits_takes_the_first_server_that_comes(kind: str, selector: str) -> None:
    async with key_servers(3, down=range(3)) as servers:
        async with fresh(kind, servers.targets, selector=selector, config=QUICK) as client:
            call = asyncio.ensure_future(
                client.with_options(hash_key=7, wait_for_ready=True).call(Place.name_of)
            )
            await eventually(lambda: all(each.failures for each in subchannels_of(client)))
            await servers.start(servers.targets[2])
            assert await call == servers.targets[2]


async def test_keys_follow_the_list_of_a_registry(kind: str, selector: str) -> None:
    keys = range(40)
    async with key_servers(5) as servers:
        first = servers.targets[:4]
        registry = StaticRegistry({"place": first})
        async with fresh(kind, "place", registry=registry, selector=selector, config=QUICK) as client:
            assert await placed(client, keys) == places(selector, first, keys)
            registry.update("place", servers.targets)
            await eventually(lambda: len(subchannels_of(client)) == 5 or isinstance(client, Stepped))
            assert await placed(client, keys) == places(selector, servers.targets, keys, before=first)


async def test_calls_without_a_key_do_not_wait_for_an_endpoint(kind: str, selector: str) -> None:
    async with key_servers(2, down=[0]) as servers:
        with silent_listener(servers.targets[0]):
            async with fresh(kind, servers.targets, selector=selector, config=ONCE) as client:
                await client.with_options(endpoint=servers.targets[1]).call(Place.name_of)
                for _ in range(10):
                    assert await client.with_options(timeout=10).call(Place.name_of) == servers.targets[1]
