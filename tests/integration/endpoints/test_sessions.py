"""Sessions: sticky keys and preferred endpoints, with the clients of both kinds."""

import pytest

from fastrpc import ConfigError, Endpoint
from fastrpc.selectors import Canary, Sticky, version
from tests.support.either_client import CLIENTS
from tests.support.keyed import Place, fresh, key_servers

pytestmark = [pytest.mark.one_loop, pytest.mark.parametrize("kind", CLIENTS)]


async def test_a_key_stays_at_its_server_while_other_servers_come_and_go(kind: str) -> None:
    async with key_servers(4) as servers, fresh(kind, servers.targets, selector=Sticky()) as client:
        places = {key: await client.with_options(hash_key=key).call(Place.name_of) for key in range(20)}
        for _ in range(3):
            for key, expected in places.items():
                assert await client.with_options(hash_key=key).call(Place.name_of) == expected


async def test_a_preferred_endpoint_is_called_by_any_client(kind: str) -> None:
    async with key_servers(4) as servers:
        async with fresh(kind, servers.targets) as client:
            reply = await client.request(Place.name_of)
        for prefer in (reply.endpoint, str(reply.endpoint), reply.endpoint.address):
            async with fresh(kind, servers.targets) as other:
                view = other.with_options(prefer=prefer)
                assert {await view.call(Place.name_of) for _ in range(6)} == {reply.value}


async def test_batches_and_streams_go_to_the_preferred_endpoint(kind: str) -> None:
    async with key_servers(4) as servers, fresh(kind, servers.targets) as client:
        home = servers.targets[2]
        view = client.with_options(prefer=home)
        assert await view.call_many(Place.name_of, [()] * 5) == [home] * 5
        async with view.stream(Place.names) as names:
            assert await names.receive() == home


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:9", "memory://unlisted", "no address at all", ""])
async def test_a_text_that_is_not_listed_is_not_dialled(kind: str, text: str) -> None:
    async with key_servers(3) as servers, fresh(kind, servers.targets) as client:
        view = client.with_options(prefer=text)
        names = {await view.call(Place.name_of) for _ in range(12)}
        assert len(names) == 3


async def test_a_preferred_endpoint_that_was_stopped_is_replaced(kind: str) -> None:
    async with key_servers(3) as servers, fresh(kind, servers.targets) as client:
        view = client.with_options(prefer=servers.targets[0], idempotent=True)
        home = await view.call(Place.name_of)
        await servers.stop(servers.targets[0])
        assert await view.call(Place.name_of) != home


async def test_endpoint_and_prefer_exclude_each_other(kind: str) -> None:
    async with key_servers(1) as servers, fresh(kind, servers.targets) as client:
        target = servers.targets[0]
        with pytest.raises(ConfigError, match="endpoint and prefer are given"):
            client.with_options(endpoint=target, prefer=target)
        with pytest.raises(ConfigError, match="endpoint and prefer are given"):
            client.with_options(prefer=target).with_options(endpoint=target)
        assert client.with_options(prefer=target).with_options(endpoint=target, prefer=None)
        with pytest.raises(ConfigError, match="prefer is 7"):
            client.with_options(prefer=7)


async def test_a_canary_gets_the_calls_of_its_users(kind: str) -> None:
    async with key_servers(2) as servers:
        old, new = servers.targets
        endpoints = [Endpoint(old, version="1"), Endpoint(new, version="2")]
        selector = Canary(to=version("2"), when={"x-canary": "yes"})
        async with fresh(kind, endpoints, selector=selector) as client:
            usual = await client.call(Place.name_of)
            chosen = client.with_options(metadata={"x-canary": "yes"})
            found = {await chosen.call(Place.name_of) for _ in range(5)}
            assert len(found) == 1
            assert usual not in found
            assert {await client.call(Place.name_of) for _ in range(5)} == {usual}
