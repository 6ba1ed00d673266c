"""A cluster moves from one registry to another under load, step by step, as the guide says."""

import contextlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Client
from tests.support.cluster import cluster, in_thread, until
from tests.support.noted_calls import NotedCalls
from tests.support.open_loop import OpenLoop
from tests.support.registry_servers import ConsulAgent, EmbeddedServer, EtcdServer, RedisServer
from tests.support.restarts import METHODS, RATE
from tests.support.waiting import eventually

pytestmark = pytest.mark.measures

KINDS: dict[str, Any] = {"consul": ConsulAgent, "etcd": EtcdServer, "redis": RedisServer}

#: The other pairs run in `make soak`.
PAIRS = [
    pytest.param(*pair, marks=() if pair == ("consul", "etcd") else pytest.mark.conformance)
    for pair in itertools.permutations((*KINDS, "embedded"), 2)
]


def made(kind: str, request: pytest.FixtureRequest, folder: Path) -> Any:
    """Return a registry that is not started."""
    if kind == "embedded":
        return EmbeddedServer(folder)
    return KINDS[kind](request.getfixturevalue(f"{kind}_path"), folder)


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize(("old_kind", "new_kind"), PAIRS)
async def test_move_between_registries_fails_no_call(
    old_kind: str, new_kind: str, dies: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    old, new = made(old_kind, request, tmp_path), made(new_kind, request, tmp_path)
    both = old.url, new.url
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(new.kill)
        await in_thread(new.start)
        servers = await stack.enter_async_context(cluster(old, tmp_path, watched=both))
        client = await stack.enter_async_context(Client("noted", registry=old.url))
        await client.ready()
        calls = NotedCalls(client, METHODS)
        async with OpenLoop(RATE, calls):
            for member in servers.members:
                member.move_to(*both)
                await servers.restart(member)
            # The clients see a server once either registry has it.
            await until(lambda: new.listed("noted") == servers.addresses)
            if dies:
                await in_thread(old.kill)
            client = await moved(calls, client, *both)
            for member in servers.members:
                member.move_to(new.url)
                await servers.restart(member)
            client = await moved(calls, client, new.url)
        await client.close()
    assert calls.failures() == []
    assert calls.problems(servers.journal) == []


async def moved(calls: NotedCalls, old: Client, *registries: str) -> Client:
    """Replace the client, as a rolling restart does: the calls under way end by the old one."""
    client = Client("noted", registry=registries)
    await client.ready()
    calls.move_to(client)
    await eventually(lambda: old.stats()["live"]["calls"] == 0)
    await old.close()
    return client
