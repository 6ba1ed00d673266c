"""A preface that arrives in pieces, as any network may deliver it."""

import asyncio

import pytest

import fastrpc
from tests.support.peer_writing import write_to
from tests.support.served import served

PREFACE = b"\xf5FRP\1\1\0\0"


@fastrpc.service("echo")
class Echo:
    @fastrpc.method
    async def same(self, value: int) -> int:
        return value


@pytest.mark.parametrize("size", range(1, len(PREFACE)))
async def test_a_server_waits_for_the_remaining_bytes_and_stays_open(size: int) -> None:
    async with served(Echo(), scheme="tcp") as target:
        address = fastrpc.Address.parse(target)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        write_to(writer, PREFACE[:size])
        # Answered only after the piece before it was read: the loop serves connections in order of arrival.
        async with fastrpc.Client(target) as client:
            assert await client.call(Echo.same, size) == size
        write_to(writer, PREFACE[size:])
        assert await reader.readexactly(4) == PREFACE[:4]
        writer.close()
        await writer.wait_closed()


async def test_a_client_waits_for_the_remaining_bytes_and_stays_open() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(PREFACE))
        write_to(writer, PREFACE[:3])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, fastrpc.Client(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(fastrpc.UnavailableError):
            await client.call(Echo.same, 1)
