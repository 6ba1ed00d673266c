"""The accounts of streams on both sides, apart from their messages: each entry is added once and removed once."""

import asyncio
import sys
from collections.abc import AsyncIterator

import msgspec
import pytest

from fastrpc import Client, method, service
from tests.support.feed import Feed
from tests.support.frame_factory import opening
from tests.support.raw_peer import RawServer
from tests.support.raw_streams import CLIENT_STREAM, stream_peer
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.wire_frames import Credit, Data, Request
from tests.support.wire_settings import Setting

pytestmark = pytest.mark.one_loop

MIB = 1024 * 1024


@service("hoard")
class Hoard:
    """Keeps its stream unread, even after its cancellation."""

    def __init__(self) -> None:
        self.was_told = asyncio.Event()
        self.may_end = asyncio.Event()

    @method
    async def keep(self, blocks: AsyncIterator[bytes]) -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_told.set()
            await self.may_end.wait()
        return 0


async def test_message_after_the_deadline_does_not_change_the_bytes_of_waiting_messages() -> None:
    hoard = Hoard()
    async with served(hoard, scheme="tcp") as target, stream_peer(target) as peer:
        call = peer.open("hoard.keep", flags=CLIENT_STREAM, timeout_us=100_000)
        payload = msgspec.msgpack.encode(bytes(1_000))
        for _ in range(10):
            peer.peer.send(Data(call, payload, codec=1).encode())
        await hoard.was_told.wait()
        [session] = target.server._gate.engines  # type: ignore[union-attr]
        await eventually(lambda: session.held_bytes > 10 * len(payload))
        held = session.held_bytes
        for _ in range(10):
            peer.peer.send(Data(call, payload, codec=1).encode())
        await peer.end(peer.open("fastrpc.health.check", "", flags=0))
        assert session.held_bytes == held
        hoard.may_end.set()
        await peer.end(call)
        await eventually(lambda: session.held_bytes == 0)


async def test_sends_abandoned_while_the_output_is_full_leak_nothing() -> None:
    async with RawServer() as server, Client(server.address) as client:
        busy, idle = client.open(Feed.unread), client.open(Feed.unread)
        beginning = [asyncio.ensure_future(stream.begin()) for stream in (busy, idle)]
        peer = await server.accept()
        peer.send(opening(True, {Setting.STREAM_WINDOW: 2**30}))
        await asyncio.gather(*beginning)
        await peer.next(Request)
        # Nothing is read from here on, but there is credit: the output fills.
        peer.send(Credit(0, 2**30).encode())

        async def fill() -> None:
            while True:
                await busy.send(bytes(MIB))

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await fill()
        before = sys.getrefcount(idle.call)
        for _ in range(50):
            sending = asyncio.ensure_future(idle.send(b""))
            await asyncio.sleep(0)
            assert not sending.done()
            sending.cancel()
            await asyncio.wait([sending])
        assert sys.getrefcount(idle.call) <= before + 5
        busy.cancel()
        idle.cancel()
