"""Endpoints that fail, are slow or have the wrong place: the client still calls some of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

import fastrpc
from fastrpc import Backoff, CallError, CircuitOpenError, Client, ClientConfig, Endpoint, Status
from fastrpc.config import Admission, Breaker, Outlier, Pool, ServerConfig
from fastrpc.registries import StaticRegistry
from fastrpc.selectors import Filter, RoundRobin, subset, zone
from tests.support.open_loop import OpenLoop
from tests.support.ports import free_ports
from tests.support.served import served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

#: How long an endpoint is out, and how often all are compared.
OUT_SECONDS, INTERVAL_SECONDS = 0.5, 0.5

#: Calls per second: some fifty of each endpoint in an interval.
RATE = 500

QUICK = Backoff(first=0.01, longest=0.05)


@fastrpc.service("sick")
class Sick:
    """Fails as the test sets it."""

    def __init__(self) -> None:
        self.calls = 0
        #: One call in this number fails; 0: no call fails.
        self.failing = 0
        self.seconds = 0.0
        #: Cleared, calls wait for it.
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    @fastrpc.method(idempotent=True)
    async def work(self) -> None:
        self.calls += 1
        if self.failing and self.calls % self.failing == 0:
            raise CallError(Status.INTERNAL, "broken")
        if self.seconds:
            await asyncio.sleep(self.seconds)
        await self.may_answer.wait()


@contextlib.asynccontextmanager
async def serving(count: int) -> AsyncIterator[tuple[list[Sick], list[str]]]:
    """Serve several endpoints; yield them and their addresses."""
    async with contextlib.AsyncExitStack() as stack:
        sick = [Sick() for _ in range(count)]
        # A thousand calls at once wait for their turn for as long as the machine needs.
        config = ServerConfig(admission=Admission(queue_age=30))
        servers = [served(one, scheme="tcp", config=config) for one in sick]
        yield sick, [await stack.enter_async_context(one) for one in servers]


async def connected(client: Client, count: int) -> None:
    await client.ready(5)
    await eventually(lambda: client.stats()["live"]["connections"] == count)


async def outcomes_of(client: Client, count: int) -> list[Any]:
    """Make calls one after the other; return the outcome of each."""
    found: list[Any] = []
    for _ in range(count):
        try:
            found.append(await client.call(Sick.work))
        except fastrpc.FastRPCError as error:
            found.append(error)
    return found


async def called_by(client: Client, sick: Sequence[Sick], count: int = 60) -> list[bool]:
    """Make calls; return which servers got some of them."""
    before = [one.calls for one in sick]
    await outcomes_of(client, count)
    return [one.calls > earlier for one, earlier in zip(sick, before, strict=True)]


@pytest.mark.measures
async def test_bad_endpoints_are_out_in_one_sweep_and_below_half_all_are_used() -> None:
    outlier = Outlier(consecutive=None, interval=INTERVAL_SECONDS, ejection=60.0)
    config = ClientConfig(pool=Pool(breaker=None, outlier=outlier))
    async with serving(5) as (sick, addresses), Client(addresses, config=config) as client:
        await connected(client, 5)
        endpoint_set = client._state.endpoint_set
        assert endpoint_set is not None
        sizes = [5]

        async def call(number: int) -> None:
            with contextlib.suppress(CallError):
                await client.call(Sick.work)
            if sizes[-1] != len(endpoint_set.endpoints):
                sizes.append(len(endpoint_set.endpoints))

        sick[0].failing = 2
        sick[1].seconds = 0.1
        async with OpenLoop(RATE, call):
            await eventually(lambda: len(sizes) > 1)
            assert sizes == [5, 3]
            assert {str(one) for one in endpoint_set.endpoints} == set(addresses[2:])
            assert await called_by(client, sick) == [False, False, True, True, True]
            sick[2].failing = sick[3].failing = 1
            await eventually(lambda: len(sizes) > 2)
            assert sizes == [5, 3, 5]
            assert endpoint_set.is_panicking
            assert await called_by(client, sick) == [True] * 5


async def test_bad_endpoints_that_are_well_again_are_used_again() -> None:
    outlier = Outlier(consecutive=3, ejection=OUT_SECONDS)
    config = ClientConfig(pool=Pool(breaker=None, outlier=outlier))
    async with serving(5) as (sick, addresses), Client(addresses, config=config) as client:
        await connected(client, 5)
        sick[0].failing = 1
        assert len([error for error in await outcomes_of(client, 50) if error is not None]) == 3
        sick[0].failing = 0
        async with asyncio.timeout(10):
            while await called_by(client, sick) != [True] * 5:
                pass


@pytest.mark.parametrize("probes", [1, 5])
async def test_a_thousand_callers_make_exactly_the_allowed_probes(probes: int) -> None:
    breaker = Breaker(consecutive=1, open_seconds=0.05, probes=probes)
    config = ClientConfig(pool=Pool(breaker=breaker, outlier=None))
    async with serving(2) as (sick, addresses), Client(addresses, config=config) as client:
        await connected(client, 2)
        for one in sick:
            one.failing = 1
        while not isinstance((await outcomes_of(client, 1))[0], CircuitOpenError):
            pass
        for one in sick:
            one.calls = one.failing = 0
            one.may_answer.clear()
        # Time has to pass; after any time the breakers wait for the probes.
        await asyncio.sleep(2 * breaker.open_seconds)
        callers = [asyncio.create_task(client.call(Sick.work)) for _ in range(1_000)]
        await eventually(lambda: sum(task.done() for task in callers) == 1_000 - 2 * probes)
        assert {type(task.exception()) for task in callers if task.done()} == {CircuitOpenError}
        await eventually(lambda: sum(one.calls for one in sick) >= 2 * probes)
        assert [one.calls for one in sick] == [probes, probes]
        for one in sick:
            one.may_answer.set()
        await asyncio.gather(*(task for task in callers if not task.done()))
        assert await asyncio.gather(*(client.call(Sick.work) for _ in range(1_000))) == [None] * 1_000


@contextlib.asynccontextmanager
async def filtered(addresses: Sequence[str], zones: str, narrow: Filter) -> AsyncIterator[Client]:
    """Yield a client of endpoints, some of which pass a filter; each letter is the zone of one endpoint."""
    endpoints = [Endpoint(address, zone=name) for address, name in zip(addresses, zones, strict=True)]
    outlier = Outlier(consecutive=3, ejection=OUT_SECONDS)
    config = ClientConfig(pool=Pool(breaker=None, outlier=outlier), backoff=QUICK)
    registry = StaticRegistry({"sick": endpoints})
    selector = RoundRobin(filters=[narrow])
    async with Client("sick", registry=registry, selector=selector, config=config) as client:
        yield client


async def test_calls_stay_in_a_sound_zone_spill_from_a_sick_one_and_come_back() -> None:
    async with serving(5) as (sick, addresses):
        async with filtered(addresses, "nnnff", zone("n", sound=0.7)) as client:
            await connected(client, 3)
            assert await called_by(client, sick) == [True, True, True, False, False]
            assert (sick[3].calls, sick[4].calls) == (0, 0)
            assert client.stats()["live"]["connections"] == 3
            sick[0].failing = 1
            await outcomes_of(client, 9)
            # Two of three are less than the share that is to be sound.
            async with asyncio.timeout(10):
                while await called_by(client, sick) != [False, True, True, True, True]:
                    pass
            sick[0].failing = 0
            async with asyncio.timeout(10):
                while await called_by(client, sick) != [True, True, True, False, False]:
                    pass


async def test_calls_move_to_other_zones_when_their_zone_has_no_servers() -> None:
    async with serving(2) as (far, far_addresses):
        async with serving(2) as (near, near_addresses):
            async with filtered([*near_addresses, *far_addresses], "nnff", zone("n")) as client:
                await connected(client, 2)
                assert await called_by(client, [*near, *far]) == [True, True, False, False]
                near_servers = contextlib.AsyncExitStack()
                for address in near_addresses:
                    near_servers.push_async_callback(address.server.close)  # type: ignore[attr-defined]
                await near_servers.aclose()
                assert await outcomes_of(client, 60) == [None] * 60
                async with asyncio.timeout(10):
                    while await called_by(client, far) != [True, True]:
                        pass


async def test_calls_go_elsewhere_when_nobody_ever_listened_in_the_zone() -> None:
    nobody = [f"tcp://127.0.0.1:{port}" for port in free_ports(2)]
    async with serving(2) as (far, far_addresses):
        async with filtered([*nobody, *far_addresses], "nnff", zone("n")) as client:
            async with asyncio.timeout(10):
                while await called_by(client, far) != [True, True]:
                    pass


async def test_a_client_with_a_subset_calls_no_other_endpoint() -> None:
    narrow = subset(2, client="web-1")
    async with serving(6) as (sick, addresses):
        endpoints = [Endpoint(address) for address in addresses]
        registry = StaticRegistry({"sick": endpoints})
        async with Client("sick", registry=registry, selector=RoundRobin(filters=[narrow])) as client:
            for left in (endpoints, endpoints[1:], endpoints[2:], endpoints):
                registry.update("sick", left)
                expected = [each in narrow(left, lambda each: True) for each in endpoints]
                assert sum(expected) == 2
                async with asyncio.timeout(10):
                    while await called_by(client, sick) != expected:
                        pass
