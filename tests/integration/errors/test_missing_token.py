"""A call that a server refuses as unauthenticated says that the client shows no token, by each protocol."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, ClientConfig, Server, ServerConfig, Services, Status
from fastrpc.auth import Identity, StaticTokens
from fastrpc.registries import StaticRegistry
from tests.support.either_client import CLIENTS, connected

pytestmark = pytest.mark.one_loop

TOKEN = "a-token-of-a-test"
HINT = "the client shows no token: give it one by credentials="


@fastrpc.service("vault")
class Vault:
    @fastrpc.method
    async def open(self) -> int:
        return 1

    @fastrpc.method
    async def count(self) -> AsyncIterator[int]:
        yield 1

    @fastrpc.method(public=True)
    async def refuse(self) -> int:
        raise CallError(Status.UNAUTHENTICATED, "the session is over")


Calls = dict[str, Callable[[Any], Awaitable[Any]]]


async def first(client: Any) -> Any:
    async with client.stream(Vault.count) as stream:
        return await stream.receive()


CALLS: Calls = {
    "call": lambda client: client.call(Vault.open),
    "request": lambda client: client.request(Vault.open),
    "call_many": lambda client: client.call_many(Vault.open, [(), ()]),
    "stream": first,
}


@asynccontextmanager
async def guarded(scheme: str) -> AsyncIterator[str]:
    """Serve the vault to those who show the token; yield its address by a protocol."""
    config = ServerConfig(protocols=("native", "grpc", "rpcx"))
    async with Server(Vault(), authenticate=StaticTokens({TOKEN: Identity("ada")}), config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        yield str(address).replace("tcp://", f"{scheme}://")


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("scheme", ["tcp", "grpc"])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_client_without_a_token_learns_where_to_give_one(kind: str, scheme: str, case: str) -> None:
    async with guarded(scheme) as target, connected(kind, target) as client:
        with pytest.raises(CallError) as refused:
            await CALLS[case](client)
    assert refused.value.status is Status.UNAUTHENTICATED
    assert (refused.value.hint, str(refused.value).endswith(f"({HINT})")) == (HINT, True)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_over_rpcx_a_missing_token_is_reported_too(kind: str) -> None:
    config = ClientConfig(wire_protocol="rpcx")
    async with guarded("tcp") as target, connected(kind, target, config=config) as client:
        with pytest.raises(CallError) as refused:
            await client.call(Vault.open)
    assert refused.value.hint == HINT


async def test_each_endpoint_of_a_fork_gives_the_same_hint() -> None:
    async with guarded("tcp") as target, connected("async", target) as client:
        with pytest.raises(CallError) as refused:
            await client.fork(Vault.open)
    assert refused.value.hint == HINT


async def test_a_client_of_many_services_is_told_so_as_well() -> None:
    async with guarded("tcp") as target, Services(StaticRegistry({"vault": [target]})) as services:
        with pytest.raises(CallError) as refused:
            await services.call(Vault.open)
    assert refused.value.hint == HINT


@pytest.mark.parametrize("scheme", ["tcp", "grpc"])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_client_whose_token_is_refused_is_not_told_that_it_has_none(kind: str, scheme: str) -> None:
    async with guarded(scheme) as target, connected(kind, target, credentials=f"{TOKEN}-old") as client:
        with pytest.raises(CallError) as refused:
            await client.call(Vault.open)
    assert refused.value.status is Status.UNAUTHENTICATED
    assert refused.value.hint != HINT


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_call_with_a_separate_token_gets_no_such_hint(kind: str) -> None:
    async with guarded("tcp") as target, connected(kind, target) as client:
        shown = client.with_options(metadata={"authorization": f"Bearer {TOKEN}-old"})
        with pytest.raises(CallError) as refused:
            await shown.call(Vault.open)
    assert refused.value.hint is None


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_refusal_by_the_handler_itself_has_no_hint(kind: str) -> None:
    async with guarded("tcp") as target, connected(kind, target) as client:
        with pytest.raises(CallError, match="the session is over") as refused:
            await client.call(Vault.refuse)
    assert refused.value.hint is None
