"""Errors that a reader can correct name the remedy."""

import asyncio
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ConnectionLostError, DeadlineExceededError, NoEndpointError, Server, SyncClient
from fastrpc.registries import StaticRegistry
from fastrpc.selectors import RoundRobin, labels
from fastrpc.testing import connected

pytestmark = pytest.mark.one_loop

NOWHERE = "tcp://127.0.0.1:1"


@fastrpc.service("slow")
class Slow:
    def __init__(self) -> None:
        self.is_waiting = asyncio.Event()

    @fastrpc.method
    async def wait(self) -> None:
        self.is_waiting.set()
        await asyncio.Event().wait()

    @fastrpc.method(idempotent=True)
    async def look(self) -> None:
        self.is_waiting.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize(("method", "is_hinted"), [(Slow.wait, True), (Slow.look, False)])
async def test_a_lost_call_that_may_not_run_twice_is_told_how_it_might(method: Any, is_hinted: bool) -> None:
    service = Slow()
    server = Server(service)
    address = str(await server.listen("tcp://127.0.0.1:0"))
    async with Client(address) as client:
        call = asyncio.ensure_future(client.with_options(fail_mode="failfast").call(method))
        await service.is_waiting.wait()
        connections = [session.transport for session in server._gate.engines]  # type: ignore[union-attr]
        connections[0].abort()
        with pytest.raises(ConnectionLostError) as lost:
            await call
    await server.close()
    assert lost.value.retryable is not is_hinted
    if is_hinted:
        assert "@method(idempotent=True)" in str(lost.value.hint)
    else:
        assert lost.value.hint is None


async def test_a_deadline_that_passed_says_where_time_is_given() -> None:
    async with connected(Slow()) as client:
        await client.ready()
        with pytest.raises(DeadlineExceededError) as overdue:
            await client.with_options(timeout=0.05).call(Slow.wait)
    assert "timeout=" in str(overdue.value.hint)


async def test_a_client_that_is_not_ready_in_time_suggests_checks() -> None:
    async with Client(NOWHERE) as client:
        with pytest.raises(DeadlineExceededError, match="a server runs there"):
            await client.ready(0.05)
        with pytest.raises(DeadlineExceededError, match="a server runs there"):
            await client.with_options(wait_for_ready=True, timeout=0.05).call(Slow.wait)


def test_a_blocking_client_gives_the_same_hint() -> None:
    with SyncClient(NOWHERE) as client, pytest.raises(DeadlineExceededError, match="a server runs there"):
        client.ready(0.05)


async def test_a_service_without_servers_suggests_checks() -> None:
    async with Client("slow", registry=StaticRegistry({"slow": []})) as client:
        with pytest.raises(NoEndpointError, match="no endpoint serves it") as nobody:
            await client.call(Slow.wait)
    assert "check the service's name" in str(nobody.value.hint)


async def test_filters_without_a_match_name_the_fields_to_compare() -> None:
    selector = RoundRobin(filters=[labels(tier="fast")])
    async with Client([NOWHERE, "tcp://127.0.0.1:2"], selector=selector) as client:
        with pytest.raises(NoEndpointError, match="the filters leave no endpoint") as nobody:
            await client.call(Slow.wait)
    assert "labels, versions and zones" in str(nobody.value.hint)


async def test_an_endpoint_outside_of_the_list_is_refused_with_a_hint() -> None:
    async with Client("slow", registry=StaticRegistry({"slow": [NOWHERE]})) as client:
        with pytest.raises(NoEndpointError, match="is not an endpoint of") as nobody:
            await client.with_options(endpoint="tcp://127.0.0.1:3").call(Slow.wait)
    assert "endpoint=" in str(nobody.value.hint)
