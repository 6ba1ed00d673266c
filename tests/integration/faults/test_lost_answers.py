"""Unsent bytes of a lost connection are freed with it, without the collector."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest

import fastrpc
from fastrpc import Client, UnavailableError
from tests.support.raw_streams import stream_peer
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually
from tests.support.wire_frames import Data

MIB = 1024 * 1024

#: The classes of a call, its messages and its connection.
KINDS = ("NativeServedConnection", "Outgoing", "ServedStream", "ServerCall", "ServerConnection")


@fastrpc.service("line")
class Line:
    """Sends more than anybody takes."""

    @fastrpc.method
    async def endless(self, size: int) -> AsyncIterator[bytes]:
        while True:
            yield bytes(size)

    @fastrpc.method
    async def give(self, size: int) -> bytes:
        return bytes(size)


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> Counter[str]:
    """Count the objects of `KINDS` that are younger than `collector_off`.

    All objects of a process that ran many tests take most of a second, in each turn of `eventually`.
    """
    young = gc.get_objects(generation=0)
    return Counter(kind for item in young if (kind := type(item).__name__) in KINDS)


@pytest.mark.usefixtures("collector_off")
@pytest.mark.parametrize("size", [2_000, 50_000])
async def test_calls_of_a_lost_connection_end_with_it(size: int) -> None:
    async with served(Line(), scheme="tcp") as target:
        before = alive()
        async with stream_peer(target) as peer:
            for _ in range(20):
                peer.open("line.endless", size)
            for _ in range(6):
                peer.open("line.give", 4 * MIB, flags=0)
            await peer.peer.next(Data)
            await eventually(lambda: alive()["Outgoing"] > 5)
        await eventually(lambda: alive() <= before)


@pytest.mark.usefixtures("collector_off")
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_large_answers_of_a_client_that_leaves_are_freed_with_it(scheme: str) -> None:
    async with served(Line(), scheme=scheme) as target:
        before = alive()
        client = Client(target)
        await client.ready()
        waiting = [asyncio.ensure_future(client.call(Line.give, 8 * MIB)) for _ in range(4)]
        await eventually(lambda: alive()["Outgoing"])
        sessions = list(target.server._gate.engines)  # type: ignore[union-attr]
        sessions.pop().abort()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert any(isinstance(outcome, UnavailableError) for outcome in outcomes)
        await client.close()
        await eventually(lambda: alive() <= before)
