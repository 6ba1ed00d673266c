"""Strangers that are silent or slow in their opening do not delay the openings of other peers."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from fastrpc import Admission, Client, ServerConfig, SyncClient
from fastrpc.config import Timeouts
from tests.support.frame_factory import early_opening, opening
from tests.support.noted import Journal, Noted
from tests.support.raw_peer import RawPeer, raw_client
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually
from tests.support.wire_frames import Goaway, SettingsFrame
from tests.support.wire_parser import Preface

PREFACE = Preface().encode()
LIMIT = 4


def few(limit: int = LIMIT, **timeouts: float) -> ServerConfig:
    return ServerConfig(admission=Admission(handshakes=limit), timeouts=Timeouts(linger=0.1, **timeouts))


#: Seconds for which an opening may be silent while too many others are open.
SILENT_SECONDS = 0.2

#: The peers of a scene.
_opened: WeakKeyDictionary[AsyncExitStack, list[RawPeer]] = WeakKeyDictionary()


async def all_read(target: str) -> None:
    """Return once the server has read all bytes sent before."""
    async with Client(target) as client:
        await client.ready(5)


async def peers(stack: AsyncExitStack, target: Any, count: int, sent: bytes = b"") -> list[RawPeer]:
    """Connect the given number of peers, which send the same; all are accepted, and some may be closed since."""

    def connections() -> int:
        return int(target.server.stats()["live"]["connections"])

    found = []
    opened = _opened.setdefault(stack, [])
    for _ in range(count):
        peer = await stack.enter_async_context(raw_client(target))
        if sent:
            peer.send(sent)
        found.append(peer)
    opened += found
    # Earlier ones may be given up meanwhile as well.
    await eventually(lambda: connections() + sum(peer.is_over for peer in opened) >= len(opened))
    return found


async def unless_given_up(scene: Callable[[AsyncExitStack, Any], Awaitable[None]]) -> None:
    """Play a scene whose peers pause for less than an opening may; on a machine that stalls for longer, once more."""
    async with asyncio.timeout(60):
        while True:
            async with AsyncExitStack() as stack:
                target = await stack.enter_async_context(served(Noted(Journal()), scheme="tcp", config=few()))
                try:
                    return await scene(stack, target)
                except (EOFError, ConnectionError):
                    continue


async def test_a_client_passes_any_number_of_silent_openings_at_once() -> None:
    async with AsyncExitStack() as stack:
        config = few(handshake=60)
        target = await stack.enter_async_context(served(Noted(Journal()), scheme="tcp", config=config))
        for _ in range(3):
            # Accepted before the client, in the order of their connecting.
            for _ in range(3 * LIMIT):
                await stack.enter_async_context(raw_client(target))
            async with Client(target) as client:
                await client.ready(5)


async def test_the_oldest_silent_openings_are_closed_without_a_byte_until_the_limit_holds() -> None:
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(served(Noted(Journal()), scheme="tcp", config=few()))
        silent = await peers(stack, target, LIMIT + 3)
        for peer in silent[:3]:
            assert await peer.ended() == b""
        assert target.server.stats()["live"]["connections"] == LIMIT
        for peer in silent[3:]:
            peer.send(opening(False))
            await peer.next(SettingsFrame)


async def test_silent_openings_within_the_limit_have_all_their_time() -> None:
    async with AsyncExitStack() as stack:
        config = few(handshake=0.6)
        target = await stack.enter_async_context(served(Noted(Journal()), scheme="tcp", config=config))
        for peer in await peers(stack, target, LIMIT, PREFACE):
            # A peer that has to make room is closed without a frame.
            assert (await peer.next(Goaway)).reason == 12


@pytest.mark.parametrize("beginning", [b"", PREFACE[:1], PREFACE[:7], PREFACE, early_opening(False)[:-20]])
async def test_an_opening_in_one_piece_does_not_wait(beginning: bytes) -> None:
    async with AsyncExitStack() as stack:
        config = few(handshake=60)
        target = await stack.enter_async_context(served(Noted(Journal()), scheme="tcp", config=config))
        await peers(stack, target, 3 * LIMIT, beginning)
        async with Client(target) as client:
            await client.ready(5)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_hundreds_of_clients_open_at_once_through_a_small_limit(scheme: str, scale: Any) -> None:
    async with served(Noted(Journal()), scheme=scheme, config=few(2)) as target:
        clients = [Client(target) for _ in range(scale(100))]
        await asyncio.gather(*(client.ready(10) for client in clients))
        assert all(client.stats()["totals"]["connections"] == 1 for client in clients)
        await asyncio.gather(*(client.close() for client in clients))


async def test_an_opening_with_a_complete_preface_is_not_delayed_by_silent_or_slow_ones() -> None:
    async def opens_in_slices(stack: AsyncExitStack, target: Any) -> None:
        await peers(stack, target, 2 * LIMIT, PREFACE[:3])
        (sliced,) = await peers(stack, target, 1, PREFACE)
        await sliced.next(SettingsFrame)
        rest = opening(False)[len(PREFACE) :]
        for start in range(0, len(rest), 5):
            sliced.send(rest[start : start + 5])
            await asyncio.sleep(0)
        await sliced.next(SettingsFrame)

    await unless_given_up(opens_in_slices)


@pytest.mark.parametrize("size", [3, len(PREFACE) + 4], ids=["half a preface", "a preface"])
async def test_a_slow_opening_above_the_limit_waits_for_the_slow_ones_before_it(size: int) -> None:
    async def opens_behind_others(stack: AsyncExitStack, target: Any) -> None:
        slow = await peers(stack, target, LIMIT, opening(False)[:size])
        (late,) = await peers(stack, target, 1, opening(False)[:size])
        await all_read(target)
        # It is not read any more, until an earlier opening is complete.
        late.send(opening(False)[size:])
        await all_read(target)
        slow[0].send(opening(False)[size:])
        await slow[0].next(SettingsFrame)
        await late.next(SettingsFrame)

    await unless_given_up(opens_behind_others)


async def test_openings_that_pause_make_room_as_silent_ones_do() -> None:
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(served(Noted(Journal()), scheme="tcp", config=few()))
        slow = await peers(stack, target, LIMIT, PREFACE[:5])
        (late,) = await peers(stack, target, 1, PREFACE[:5])
        await all_read(target)
        late.send(opening(False)[5:])
        await late.next(SettingsFrame)
        assert await slow[0].ended() == b""


async def test_a_blocked_loop_closes_no_connection_that_sent_something_meanwhile() -> None:
    blocked = []

    async def send_to_a_blocked_loop(stack: AsyncExitStack, target: Any) -> None:
        found = await peers(stack, target, 2 * LIMIT)
        if any(peer.is_over for peer in found):
            raise EOFError("they were silent for too long before")
        for peer in found:
            peer.send(opening(False))
        blocked.append(True)
        # The server's loop is this one: written bytes leave at once, and no bytes are read during this pause.
        time.sleep(0.5)
        for peer in found:
            await peer.next(SettingsFrame)

    await unless_given_up(send_to_a_blocked_loop)
    assert len(blocked) == 1


async def test_a_flood_of_silent_openings_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    is_one_flood = False
    while not is_one_flood:
        caplog.clear()
        async with AsyncExitStack() as stack:
            target = await stack.enter_async_context(served(Noted(Journal()), scheme="tcp", config=few()))
            with caplog.at_level(logging.WARNING, "fastrpc.server"):
                began = time.monotonic()
                silent = await peers(stack, target, 5 * LIMIT)
                # If a machine stalls meanwhile, the first are given up before the last come: a second flood.
                is_one_flood = time.monotonic() - began < SILENT_SECONDS
                await silent[-1 - LIMIT].ended()
    assert len([one for one in caplog.records if "Admission.handshakes is 4" in one.message]) == 1


async def test_openings_end_at_their_timeout_whether_they_are_read_or_wait() -> None:
    async with AsyncExitStack() as stack:
        config = few(handshake=1.0)
        target = await stack.enter_async_context(served(Noted(Journal()), scheme="tcp", config=config))
        slow = await peers(stack, target, 3 * LIMIT, PREFACE[:2])

        async def dribble(peer: RawPeer) -> None:
            for byte in PREFACE[2:5]:
                await asyncio.sleep(0.1)
                peer.send(bytes([byte]))

        await asyncio.gather(*(dribble(peer) for peer in slow))
        await eventually(lambda: target.server.stats()["live"]["connections"] == 0)


async def test_a_sync_client_passes_silent_openings() -> None:
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(served(Noted(Journal()), scheme="tcp", config=few()))
        await peers(stack, target, 5 * LIMIT)

        def call() -> bytes:
            with SyncClient(target) as client:
                return client.call(Noted.once, b"\x00")

        assert await asyncio.to_thread(call) == b"\x00"
