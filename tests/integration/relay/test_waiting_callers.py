"""Callers that wait at a relay for a data connection: their share, their end, and their bytes."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from fastrpc.relay.claims import MOST_WAITING
from fastrpc.relay.refusals import RefusalReason
from fastrpc.relay.wire import GREETING, ClaimTicket
from tests.support.client_hellos import hello_of_openssl
from tests.support.peer_writing import write_to
from tests.support.relayed import RelayFiles, Relaying, claiming, relaying
from tests.support.waiting import eventually

HELLO = hello_of_openssl("edge-7.localhost")


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
        for number in range(MOST_WAITING):
            crowd.append(await stack.enter_async_context(connected(relay, HELLO, "127.0.0.9")))
            await eventually(lambda number=number: len(claim.callers) == number + 1)
        await stack.enter_async_context(connected(relay, HELLO))
        await eventually(lambda: {one.peer_name[0] for one in claim.callers} == {"127.0.0.1", "127.0.0.9"})
        assert await crowd[0][0].read() == b"\x15\x03\x03\x00\x02\x02\x50"
        assert relay.front.refusals.counts == {RefusalReason.CALLER_FULL: 1}
        assert len(claim.callers) == MOST_WAITING
        # The next oldest one is served.
        async with connected(relay, GREETING + ticket.token) as (data, _):
            assert HELLO in await data.read(65_536)


async def test_a_caller_is_refused_while_one_of_each_address_waits(files: RelayFiles) -> None:
    async with relaying(files) as relay, claiming(relay) as tickets, AsyncExitStack() as stack:
        await anext(tickets)
        claim = relay.front.claims.by_name["edge-7"]
        for number in range(MOST_WAITING):
            await stack.enter_async_context(connected(relay, HELLO, f"127.0.1.{number + 1}"))
        await eventually(lambda: len(claim.callers) == MOST_WAITING)
        async with connected(relay, HELLO) as (reader, _):
            assert await reader.read() == b"\x15\x03\x03\x00\x02\x02\x70"
        assert relay.front.refusals.counts == {RefusalReason.SLOW: 1}
        assert len(claim.callers) == MOST_WAITING


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
