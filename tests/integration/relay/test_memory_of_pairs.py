"""The memory of a relay's process: idle pairs, and pairs that carry much."""

import asyncio
import os
import random
import socket
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.bare_pairs import BarePairs, Ends, pairing
from tests.support.bombs import peak_bytes, reset_peak, resident_bytes
from tests.support.relay_process import RelayProcess
from tests.support.relayed import RelayFiles

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

#: Pairs of one name and of one caller: the limits of a relay.
PAIRS_OF_NAME, PAIRS_OF_CALLER = 1_000, 100

#: Pairs that open at the same time.
AT_ONCE = 32


@asynccontextmanager
async def relay_process(files: RelayFiles, folder: Path) -> AsyncIterator[RelayProcess]:
    relay = RelayProcess(files, folder)
    await asyncio.to_thread(relay.start)
    try:
        yield relay
    finally:
        relay.kill()


# Idle pairs


class Crowd:
    """Idle pairs of a relay, each of which has carried 8 KiB in each direction."""

    def __init__(self, names: list[BarePairs]) -> None:
        self._names = names
        self._room = asyncio.Semaphore(AT_ONCE)
        self._count = 0

    async def grow(self, count: int) -> None:
        """Return once there are this many pairs."""
        await asyncio.gather(*(self._open(number) for number in range(self._count, count)))
        self._count = count

    async def _open(self, number: int) -> None:
        async with self._room:
            name = self._names[number // PAIRS_OF_NAME]
            caller, server = await name.open(f"127.0.1.{number // PAIRS_OF_CALLER + 1}")
            for source, target in ((caller, server), (server, caller)):
                await carry(source, target, os.urandom(8 * KIB))


async def carry(source: socket.socket, target: socket.socket, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(source, data)
    received = b""
    while len(received) < len(data):
        received += await loop.sock_recv(target, 65_536)
    assert received == data


async def test_four_thousand_idle_pairs_take_at_most_twenty_kibibytes_each(
    files: RelayFiles, tmp_path: Path
) -> None:
    few, many = 400, 4_000
    async with relay_process(files, tmp_path) as relay, AsyncExitStack() as stack:
        names = [
            await stack.enter_async_context(pairing(relay, f"edge-{number}"))
            for number in range(many // PAIRS_OF_NAME)
        ]
        crowd = Crowd(names)
        await crowd.grow(few)
        before = peak_bytes(relay.process_id)
        await crowd.grow(many)
        each = (peak_bytes(relay.process_id) - before) / (many - few) / KIB
    print(f"one more idle pair: {each:.1f} KiB, from {few} to {many:,} pairs")
    assert each <= 20


# Pairs that carry much


def pieces(seed: int) -> list[bytes]:
    """Return 1 GiB in pieces; two pieces in a row are unlikely to be equal."""
    source = random.Random(seed)
    blocks = [source.randbytes(MIB) for _ in range(16)]
    return [source.choice(blocks) for _ in range(GIB // MIB)]


def send(end: socket.socket, seed: int) -> int:
    """Send 1 GiB and an end; return its sum."""
    found = 0
    for piece in pieces(seed):
        end.sendall(piece)
        found = zlib.crc32(piece, found)
    end.shutdown(socket.SHUT_WR)
    return found


def receive(end: socket.socket, pause_seconds: float = 0.0) -> tuple[int, int]:
    """Receive up to the end, with a pause after each read; return the sum and the size."""
    place, found, size = memoryview(bytearray(128 * KIB)), 0, 0
    while count := end.recv_into(place):
        found = zlib.crc32(place[:count], found)
        size += count
        if pause_seconds:
            time.sleep(pause_seconds)
    return found, size


async def carried(source: socket.socket, target: socket.socket, pause_seconds: float = 0.0) -> None:
    """Carry 1 GiB and an end in threads."""
    sent, received = await asyncio.gather(
        asyncio.to_thread(send, source, source.fileno()),
        asyncio.to_thread(receive, target, pause_seconds),
    )
    assert received == (sent, GIB)


async def at_once(ends: Ends) -> None:
    caller, server = ends
    await asyncio.gather(carried(caller, server), carried(server, caller))


async def in_turn(ends: Ends) -> None:
    """The server answers once it has seen the end of the request."""
    caller, server = ends
    await carried(caller, server)
    await carried(server, caller)


async def to_slow_readers(ends: Ends) -> None:
    caller, server = ends
    pause_seconds = 0.001
    await asyncio.gather(carried(caller, server, pause_seconds), carried(server, caller, pause_seconds))


@pytest.mark.parametrize("way", [at_once, in_turn, to_slow_readers])
async def test_a_gibibyte_each_way_grows_a_relay_by_at_most_four_mebibytes(
    way: Callable[[Ends], Awaitable[None]], files: RelayFiles, tmp_path: Path
) -> None:
    async with relay_process(files, tmp_path) as relay, pairing(relay) as pairs:
        ends = await pairs.open()
        for end in ends:
            end.setblocking(True)
        reset_peak(relay.process_id)
        before = resident_bytes(relay.process_id)
        began = time.perf_counter()
        await way(ends)
        seconds = time.perf_counter() - began
        grown = (peak_bytes(relay.process_id) - before) / MIB
    print(f"1 GiB each way {way.__name__}: grown by {grown:.1f} MiB, {2 * GIB / seconds / 1e6:,.0f} MB/s")
    assert grown <= 4
