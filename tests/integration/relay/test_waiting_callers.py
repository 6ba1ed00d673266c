"""Callers that wait at a relay for a data connection: their share, their end, and their bytes."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from fastrpc.relay import waiting
from fastrpc.relay.refusals import RefusalReason
from fastrpc.relay.wire import GREETING, ClaimTicket
from tests.support.client_hellos import hello_of_openssl
from tests.support.peer_writing import write_to
from tests.support.relayed import RelayFiles, Relaying, claiming, relaying
from tests.support.waiting import eventually

HELLO = hello_of_openssl("edge-7.localhost")
PLACES = 8


@pytest.fixture(autouse=True)
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITING", PLACES)


@asynccontextmanager
async def connected(
    relay: Relaying, sent: bytes, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Send bytes to the relay from an address."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port, local_addr=(host, 0))
    try:
        write_to(writer, sent)
        yield reader, writer
    finally:
        writer.transport.abort()


async def test_an_address_with_many_waiting_callers_makes_room_for_another(files: RelayFiles) -> None:
    async with relaying(files) as relay, claiming(relay) as tickets, AsyncExitStack() as stack:
        ticket = ClaimTicket(*await anext(tickets))
        claim = relay.front.claims.by_name["edge-7"]
        crowd = []
        for number in range(PLACES):
            crowd.append(await stack.enter_async_context(connected(relay, HELLO, "127.0.0.9")))
            await eventually(lambda number=number: len(claim.callers) == number + 1)
        await stack.enter_async_context(connected(relay, HELLO))
        await eventually(lambda: {one.peer_name[0] for one in claim.callers} == {"127.0.0.1", "127.0.0.9"})
        assert await crowd[0][0].read() == b"\x15\x03\x03\x00\x02\x02\x50"
        assert relay.front.refusals.counts == {RefusalReason.CALLER_FULL: 1}
        assert len(claim.callers) == PLACES
        # The next oldest one is served.
        async with connected(relay, GREETING + ticket.token) as (data, _):
            assert HELLO in await data.read(65_536)


async def test_addresses_that_wait_once_each_make_room_for_another(files: RelayFiles) -> None:
    async with relaying(files) as relay, claiming(relay) as tickets, AsyncExitStack() as stack:
        ticket = ClaimTicket(*await anext(tickets))
        claim = relay.front.claims.by_name["edge-7"]
        crowd = []
        for number in range(PLACES):
            crowd.append(await stack.enter_async_context(connected(relay, HELLO, f"127.0.1.{number + 1}")))
            await eventually(lambda number=number: len(claim.callers) == number + 1)
        async with connected(relay, HELLO):
            # The oldest one gives way.
            assert await crowd[0][0].read() == b"\x15\x03\x03\x00\x02\x02\x70"
            assert relay.front.refusals.counts == {RefusalReason.SLOW: 1}
            assert len(claim.callers) == PLACES
            # The one that gave way comes again, and again: no other one loses its place.
            for _ in range(3):
                async with connected(relay, HELLO, "127.0.1.1") as (again, _):
                    assert await again.read() == b"\x15\x03\x03\x00\x02\x02\x70"
            assert "127.0.0.1" in {one.peer_name[0] for one in claim.callers}
            assert len(claim.callers) == PLACES
            async with connected(relay, GREETING + ticket.token) as (data, _):
                assert HELLO in await data.read(65_536)


@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_waiting_caller_that_leaves_is_forgotten(is_reset: bool, files: RelayFiles) -> None:
    async with relaying(files) as relay, claiming(relay) as tickets:
        ticket = ClaimTicket(*await anext(tickets))
        claim = relay.front.claims.by_name["edge-7"]
        async with connected(relay, HELLO) as (_, writer):
            await eventually(lambda: claim.callers)
            if is_reset:
                opened = writer.get_extra_info("socket")
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()
            await eventually(lambda: not claim.callers)
        async with connected(relay, GREETING + ticket.token):
            await eventually(lambda: claim.spares)
        assert not relay.front.refusals.counts


@pytest.mark.parametrize("size", [1, 1_000, 100_000])
async def test_bytes_of_a_waiting_caller_reach_its_server_in_order(size: int, files: RelayFiles) -> None:
    behind = bytes(number % 251 for number in range(size))
    async with relaying(files) as relay, claiming(relay) as tickets:
        ticket = ClaimTicket(*await anext(tickets))
        claim = relay.front.claims.by_name["edge-7"]
        async with connected(relay, HELLO) as (_, writer):
            await eventually(lambda: claim.callers)
            write_to(writer, behind)
            async with connected(relay, GREETING + ticket.token) as (data, _):
                await data.readuntil(HELLO)
                assert await data.readexactly(size) == behind
