"""Connections that end by themselves: of age, without calls, or because there are too many."""

import asyncio
import time
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, Keepalive, Limits, ServerConfig, Timeouts
from tests.support.frame_factory import opening, request
from tests.support.ledger import Journal, Ledger
from tests.support.noted import Noted
from tests.support.raw_peer import raw_client
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.wire_frames import Goaway, Ping, Response, SettingsFrame
from tests.support.wire_layout import HIGHEST_ID, Reason

pytestmark = pytest.mark.one_loop


@fastrpc.service("holding")
class Holding:
    def __init__(self) -> None:
        self.inside = asyncio.Event()
        self.release = asyncio.Event()

    @fastrpc.method
    async def hold(self) -> str:
        self.inside.set()
        await self.release.wait()
        return "done"


async def test_connections_of_limited_age_are_replaced_without_an_error(scale: Any) -> None:
    journal, ledger = Journal(), Ledger()
    config = ServerConfig(keepalive=Keepalive(max_age=0.2))
    async with served(Noted(journal), scheme="tcp", config=config) as target, Client(target) as client:
        await client.ready()
        used: set[object] = set()
        until = time.monotonic() + 1.0

        async def caller() -> None:
            while time.monotonic() < until:
                entry = ledger.begin(timeout=5)
                used.update(client._pool.connections)
                await ledger.run(entry, client.call(Noted.once, entry.nonce))

        await asyncio.gather(*(caller() for _ in range(20)))
    assert ledger.problems(journal) == []
    assert all(isinstance(entry.ends[0][1], bytes) for entry in ledger.entries)
    # Five, where nothing else keeps the machine busy.
    assert 2 <= len(used) <= 7


@pytest.mark.measures
@pytest.mark.measures
async def test_ages_differ_by_a_tenth_to_either_side(scale: Any) -> None:
    config = ServerConfig(keepalive=Keepalive(max_age=0.5), timeouts=Timeouts(linger=0.1, drain=0.1))
    async with served(Holding, scheme="tcp", config=config) as target:

        async def age() -> float:
            began = time.monotonic()
            async with raw_client(target) as peer:
                peer.send(opening(False))
                goaway = await peer.next(Goaway)
                assert goaway.reason == Reason.MAX_AGE
                assert goaway.last_id == HIGHEST_ID
                return time.monotonic() - began

        ages = await asyncio.gather(*(age() for _ in range(scale(40))))
    assert 0.45 <= min(ages) < 0.49
    assert 0.51 < max(ages) <= 0.55 + 0.5


async def test_a_call_of_an_aged_connection_may_finish_within_the_time_for_drains() -> None:
    holding = Holding()
    config = ServerConfig(keepalive=Keepalive(max_age=0.1), timeouts=Timeouts(drain=0.8, linger=0.1))
    async with served(holding, scheme="tcp", config=config) as target, raw_client(target) as peer:
        peer.send(opening(False), request(1, b"\x90", method=b"holding.hold", codec=1))
        first = await peer.next(Goaway)
        assert (first.reason, first.last_id) == (Reason.MAX_AGE, HIGHEST_ID)
        ping = await peer.next(Ping)
        peer.send(Ping(ping.content, ack=True).encode())
        final = await peer.next(Goaway)
        assert (final.final, final.last_id) == (True, 1)
        # It is not released: at the end of the drain it is answered, and the connection closed.
        answer = await peer.next(Response)
        assert (answer.status, answer.outcome) == (fastrpc.Status.UNAVAILABLE, 0)
        assert b"Timeouts.drain" in answer.message
        await peer.ended()


async def test_a_client_with_a_maximum_age_moves_on_and_finishes_running_calls() -> None:
    holding = Holding()
    config = ClientConfig(keepalive=Keepalive(max_age=0.1))
    async with served(holding, scheme="tcp") as target, Client(target, config=config) as client:
        await client.ready()
        first = client._pool.connections[0]
        call = asyncio.create_task(client.call(Holding.hold))
        await holding.inside.wait()
        await eventually(lambda: client._pool.connections and client._pool.connections[0] is not first)
        assert target.server.stats()["live"]["connections"] >= 2
        holding.release.set()
        assert await call == "done"
        await eventually(lambda: first.is_closed)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_connections_without_calls_are_closed_and_made_again(side: str) -> None:
    idle = Timeouts(idle=0.1, linger=0.1)
    server = ServerConfig(timeouts=idle if side == "server" else Timeouts())
    config = ClientConfig(timeouts=idle if side == "client" else Timeouts(), early_calls="none")
    async with served(Noted(Journal()), scheme="tcp", config=server) as target:
        async with Client(target, config=config) as client:
            for _ in range(2):
                assert await client.call(Noted.once, b"\x00") == b"\x00"
                await eventually(lambda: not client.stats()["live"]["connections"])
                await eventually(lambda: not target.server.stats()["live"]["connections"])
                # Nobody needs it, so it stays away.
                await asyncio.sleep(0.05)
                assert target.server.stats()["live"]["connections"] == 0


async def test_a_connection_with_a_call_is_not_idle() -> None:
    holding = Holding()
    timeouts = Timeouts(idle=0.05)
    config = ServerConfig(timeouts=timeouts)
    async with served(holding, scheme="tcp", config=config) as target:
        async with Client(target, config=ClientConfig(timeouts=timeouts)) as client:
            call = asyncio.create_task(client.call(Holding.hold))
            await holding.inside.wait()
            await asyncio.sleep(0.3)
            holding.release.set()
            assert await call == "done"


async def test_a_call_wakes_the_connections_that_nobody_needed() -> None:
    config = ServerConfig(timeouts=Timeouts(idle=0.1))
    async with (
        served(Noted(Journal()), scheme="tcp", config=config) as sleeping,
        served(Noted(Journal()), scheme="tcp") as awake,
        Client([sleeping, awake]) as client,
    ):
        await client.call(Noted.once, b"\x00")
        await eventually(lambda: len(client._pool.connections) == 2)
        await eventually(lambda: len(client._pool.connections) == 1)
        await client.call(Noted.once, b"\x00")
        await eventually(lambda: len(client._pool.connections) == 2)


async def test_a_server_with_all_its_connections_says_so() -> None:
    config = ServerConfig(limits=Limits(connections=2), timeouts=Timeouts(linger=0.1))
    async with served(Holding(), scheme="tcp", config=config) as target:
        async with raw_client(target) as first, raw_client(target) as second:
            for peer in (first, second):
                peer.send(opening(False))
                await peer.next(SettingsFrame)
            async with raw_client(target) as third:
                third.send(opening(False), request(1, b"\x90", method=b"holding.hold", codec=1))
                goaway = await third.next(Goaway)
                assert (goaway.reason, goaway.last_id, goaway.final) == (Reason.DRAIN, 0, True)
                assert b"2 connections already (Limits.connections)" in goaway.text
                await third.ended()
            first.close()
            await eventually(lambda: target.server.stats()["live"]["connections"] == 1)
            async with Client(target) as client:
                await client.ready(5)
            assert target.server.stats()["totals"]["refused_connections"] == 1


async def test_a_client_beyond_the_limit_of_connections_tries_another_address() -> None:
    full = ServerConfig(limits=Limits(connections=1))
    async with (
        served(Noted(Journal()), scheme="tcp", config=full) as first,
        served(Noted(Journal()), scheme="tcp") as second,
        Client(first) as holder,
    ):
        await holder.ready()
        async with Client([first, second], config=ClientConfig(early_calls="all")) as client:
            for _ in range(20):
                assert await client.call(Noted.once, b"\x00") == b"\x00"


async def test_more_openings_than_allowed_wait_their_turn(scale: Any) -> None:
    config = ServerConfig(
        admission=fastrpc.Admission(handshakes=2), timeouts=Timeouts(handshake=1.0, linger=0.1)
    )
    async with served(Noted(Journal()), scheme="tcp", config=config) as target:
        async with raw_client(target) as first, raw_client(target) as second, raw_client(target) as third:
            await eventually(lambda: target.server.stats()["live"]["connections"] == 3)
            for peer in (first, third):
                peer.send(opening(False))
            # The first is through, the second says nothing, and the third takes the place of the first.
            await first.next(SettingsFrame)
            await third.next(SettingsFrame)
            async with raw_client(target) as fourth:
                fourth.send(opening(False))
                await fourth.next(SettingsFrame)
            await second.ended()
        clients = [Client(target) for _ in range(scale(20))]
        await asyncio.gather(*(client.ready(5) for client in clients))
        await asyncio.gather(*(client.close() for client in clients))
