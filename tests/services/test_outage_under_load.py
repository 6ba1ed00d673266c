"""A registry is killed for a while as calls continue, and a server dies meanwhile: no caller notices.

Both registries go through it at the same time, as most of it is waiting.
"""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Client
from tests.conftest import SCALE
from tests.support.cluster import Cluster, cluster, in_thread, until
from tests.support.noted_calls import NotedCalls
from tests.support.open_loop import OpenLoop
from tests.support.registry_servers import ConsulAgent, EmbeddedServer

pytestmark = pytest.mark.measures

RATE = 500

#: How long the registry is away: longer than its records last without it; a minute in `make soak`.
AWAY_SECONDS = 60 if SCALE > 1 else 30

#: When after the kill of the registry a server is killed too, and when it is started again.
DEATH_SECONDS, REBIRTH_SECONDS = 5, 15

KINDS = ["consul", "embedded"]


@dataclass
class Outage:
    """The observations of one registry; instants are of the monotonic clock."""

    servers: Cluster
    calls: NotedCalls

    #: The list of the registry's own API before it was killed, and the time by which the watch lagged.
    listed_before: set[str]
    seconds_behind: list[float] = field(default_factory=list)

    registry_killed_at: float = 0.0
    registry_back_at: float = 0.0
    all_listed_at: float = 0.0

    #: The first server's.
    died_at: float = 0.0
    started_at: float = 0.0


async def seconds_behind(servers: Cluster, wanted: set[str]) -> float:
    """Return how much later than the registry itself the watch shows a list."""
    listed_at = await until(lambda: servers.listed() == wanted)
    return await servers.until_seen(wanted) - listed_at


async def go_through(registry: Any, folder: Path) -> Outage:
    """Kill a registry, and a server while it is away, under load."""
    # One of the servers has two workers and one record.
    async with cluster(registry, folder, workers=(1, 1, 2)) as servers:
        async with Client("noted", registry=registry.url) as client:
            await client.ready()
            # A server serves before it is registered.
            await until(lambda: servers.listed() == servers.addresses)
            outage = Outage(servers, NotedCalls(client), listed_before=await in_thread(servers.listed))
            async with OpenLoop(RATE, outage.calls):
                await come_and_go(servers, outage)
                await suffer(servers, outage)
        return outage


async def come_and_go(servers: Cluster, outage: Outage) -> None:
    """Let one more server come and leave, and note how soon the watch knows."""
    fourth = servers.member()
    await in_thread(fourth.start)
    outage.seconds_behind.append(await seconds_behind(servers, servers.addresses | {fourth.address}))
    await in_thread(fourth.stop)
    outage.seconds_behind.append(await seconds_behind(servers, servers.addresses))


async def suffer(servers: Cluster, outage: Outage) -> None:
    """Let the registry be away, let a server die and come back in that time."""
    outage.registry_killed_at = time.monotonic()
    mortal = servers.members[0]
    await in_thread(servers.registry.kill)
    await asyncio.sleep(DEATH_SECONDS)
    outage.died_at = time.monotonic()
    await in_thread(mortal.kill)
    await asyncio.sleep(REBIRTH_SECONDS - DEATH_SECONDS)
    outage.started_at = time.monotonic()
    await in_thread(mortal.start)
    await asyncio.sleep(outage.registry_killed_at + AWAY_SECONDS - time.monotonic())
    await in_thread(servers.registry.start)
    outage.registry_back_at = time.monotonic()
    outage.all_listed_at = await servers.until_listed(servers.addresses)
    # The registry's present list reaches the client before the calls end.
    await asyncio.sleep(1.0)


@pytest.fixture(scope="module")
def outages(consul_path: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outage]:
    """The outages of both registries."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    servers = {
        "consul": ConsulAgent(consul_path, folders["consul"]),
        "embedded": EmbeddedServer(folders["embedded"]),
    }

    async def both() -> dict[str, Outage]:
        async with asyncio.TaskGroup() as group:
            tasks = {kind: group.create_task(go_through(servers[kind], folders[kind])) for kind in KINDS}
        return {kind: task.result() for kind, task in tasks.items()}

    return asyncio.run(both())


@pytest.fixture(params=KINDS)
def outage(request: pytest.FixtureRequest, outages: dict[str, Outage]) -> Outage:
    return outages[request.param]


def test_no_call_fails(outage: Outage) -> None:
    assert outage.calls.failures() == []
    assert outage.calls.problems(outage.servers.journal) == []


def test_servers_are_in_the_registry_with_passing_checks(outage: Outage) -> None:
    assert outage.listed_before == outage.servers.addresses


def test_the_watch_is_within_a_second_of_the_registry(outage: Outage) -> None:
    assert max(outage.seconds_behind) < 1.0


def test_everybody_is_registered_again_within_five_seconds(outage: Outage) -> None:
    assert outage.registry_back_at - outage.registry_killed_at >= AWAY_SECONDS
    assert outage.all_listed_at - outage.registry_back_at <= 5.0


def test_nobody_is_dropped_from_the_list(outage: Outage) -> None:
    lists = [found for instant, found in outage.servers.seen if instant > outage.registry_killed_at]
    assert [found for found in lists if not found >= outage.servers.addresses] == []


def test_the_server_that_died_is_avoided_within_a_second(outage: Outage) -> None:
    calls = [
        call for call in outage.calls.begun_after(outage.died_at + 1.0) if call.begun_at < outage.started_at
    ]
    assert len(calls) > RATE * (REBIRTH_SECONDS - DEATH_SECONDS - 1) * 0.9
    assert {call.endpoint for call in calls} == {member.address for member in outage.servers.members[1:]}
    assert [call for call in calls if call.attempts != 1] == []


def test_the_server_that_started_meanwhile_is_called_again(outage: Outage) -> None:
    endpoints = {
        call.endpoint
        for call in outage.calls.begun_after(outage.started_at)
        if call.begun_at < outage.registry_back_at
    }
    assert outage.servers.members[0].address in endpoints
