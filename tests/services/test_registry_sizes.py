"""A thousand services followed by one registry object, and called by one client: their cost."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastrpc import Endpoint, Services
from fastrpc.registries import open_registry
from tests.support.apiserver import Apiserver
from tests.support.program import Program
from tests.support.registry_records import (
    KINDS,
    Kind,
    Records,
    connections_to,
    registry_threads,
    resident_bytes,
)
from tests.support.registry_servers import EmbeddedServer

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance, pytest.mark.measures]

SERVICES, ADDRESSES = 1_000, 30
NAMES = [f"service-{number}" for number in range(SERVICES)]

#: Seconds in which nothing changes.
REST_SECONDS = 10.0

#: Bytes that a client of all services may have.
MOST_BYTES = 80 * 2**20

SERVERS = """
import asyncio

import fastrpc


def of(name):
    @fastrpc.service(name)
    class Named:
        @fastrpc.method
        async def name(self) -> str:
            return name

    return Named()


async def main():
    async with fastrpc.Server(*[of(f"service-{number}") for number in range(SERVICES)]) as server:
        print("at", *[await server.listen("tcp://127.0.0.1:0") for _ in range(ADDRESSES)], flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
"""


def endpoint(number: int) -> Endpoint:
    return Endpoint(f"tcp://10.0.0.{number % ADDRESSES + 1}:{1000 + number % ADDRESSES}")


@pytest.fixture
def own_embedded(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path).running() as server:
        yield server


@pytest.fixture
def own_apiserver() -> Iterator[Apiserver]:
    with Apiserver() as server:
        yield server


def check(kind: Kind, rested: float, threads: int, connections: int, ages: list[float]) -> None:
    """Compare the cost with the bars of a kind."""
    percent = 100 * rested / REST_SECONDS
    print(
        f"{threads} threads, {connections} connections, {percent:.2f} % of a core at rest, "
        f"a change after {max(ages):.3f} s"
    )
    assert threads <= kind.threads
    assert connections <= kind.connections
    assert max(ages) <= kind.change_seconds
    assert percent <= kind.percent


def records_of(kind: Kind, place: Callable[[int], Endpoint]) -> Records:
    return [
        (service, place(number * kind.endpoints + one))
        for number, service in enumerate(NAMES)
        for one in range(kind.endpoints)
    ]


def changes(kind: Kind, place: Callable[[int], Endpoint]) -> Records:
    """Return one more record for ten services."""
    numbers = itertools.islice(range(0, SERVICES, SERVICES // 10), 10)
    return [(NAMES[number], place((number + 1) * kind.endpoints)) for number in numbers]


@pytest.mark.parametrize("name", KINDS)
def test_a_thousand_services_cost_little(request: pytest.FixtureRequest, name: str) -> None:
    kind = KINDS[name]
    server = request.getfixturevalue(kind.fixture)
    kind.put(server, records_of(kind, endpoint))
    with open_registry(kind.url(server)) as registry:  # type: ignore[attr-defined]
        begun = time.monotonic()
        watches = {service: registry.watch(service) for service in NAMES}
        for watch in watches.values():
            while len(watch.wait(60).endpoints) < kind.endpoints:
                pass
        print(f"{name}: all lists after {time.monotonic() - begun:.2f} s")
        busy = time.process_time()
        time.sleep(REST_SECONDS)
        rested = time.process_time() - busy
        threads, connections = len(registry_threads()), connections_to(server.port)
        ages = []
        for service, more in changes(kind, endpoint):
            kind.put(server, [(service, more)])
            changed = time.monotonic()
            assert watches[service].wait(30) is not None
            ages.append(time.monotonic() - changed)
    check(kind, rested, threads, connections, ages)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[list[Endpoint]]:
    """Servers of all services."""
    text = SERVERS.replace("SERVICES", str(SERVICES)).replace("ADDRESSES", str(ADDRESSES))
    (tmp_path / "servers.py").write_text(text)
    with Program(["servers.py"], tmp_path) as program:
        yield [Endpoint(address) for address in program.wait_output(r"at (.*)\n")[1].split()]


@pytest.mark.parametrize("name", ["consul", "embedded", "etcd", "redis"])
async def test_one_client_of_a_thousand_services_costs_little(
    request: pytest.FixtureRequest, places: list[Endpoint], name: str
) -> None:
    kind = KINDS[name]
    server = request.getfixturevalue(kind.fixture)
    ports = [one.address.port for one in places]

    def place(number: int) -> Endpoint:
        return places[number % ADDRESSES]

    await asyncio.to_thread(kind.put, server, records_of(kind, place))
    before = resident_bytes()
    async with Services(kind.url(server)) as services:
        for start in range(0, SERVICES, 100):
            part = NAMES[start : start + 100]
            assert await asyncio.gather(*(services.call(f"{each}.name") for each in part)) == part
        busy = time.process_time()
        await asyncio.sleep(REST_SECONDS)
        rested, held = time.process_time() - busy, resident_bytes() - before
        threads, connections = len(registry_threads()), connections_to(server.port)
        assert connections_to(*ports) <= ADDRESSES
        ages = []
        for service, more in changes(kind, place):
            await asyncio.to_thread(kind.put, server, [(service, more)])
            changed = time.monotonic()
            async with asyncio.timeout(30):
                while services[service]._pool.subchannel_at(more.address) is None:
                    await asyncio.sleep(0.002)
            ages.append(time.monotonic() - changed)
    print(f"{name}: {held / 2**20:.1f} MiB")
    check(kind, rested, threads, connections, ages)
    assert held <= MOST_BYTES
