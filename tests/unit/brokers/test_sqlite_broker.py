"""The broker in a folder: the contract, and its own features."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from fastrpc.brokers.base import (
    BrokerBackend,
    BrokerLimits,
    Delivery,
    GroupSettings,
    Membership,
    OutgoingMessage,
    Published,
)
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.brokers.embedded import EmbeddedBroker
from fastrpc.brokers.sqlite import SqliteBrokerJournal, open_sqlite
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.testing.broker_contract import BrokerContract
from tests.support.broker_folder import GROUP, LOG, Times, publish, stopped, taken


class TestContract(BrokerContract):
    """It keeps the contract."""

    @pytest.fixture
    async def broker(self, folder: Path, times: Times) -> AsyncIterator[BrokerBackend]:
        self.clock = times.clock
        async with stopped(folder, times) as broker:
            yield broker

    async def pass_time(self, broker: BrokerBackend, seconds: float) -> None:
        assert isinstance(broker, EmbeddedBroker)
        self.clock.advance(seconds)
        broker.catch_up()


@pytest.mark.parametrize("count", [1, 2, 3, 32, 33, 64, 65])
async def test_a_commit_of_messages_is_one_statement_or_one_transaction(
    folder: Path, times: Times, count: int
) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await publish(broker, b"first")
        assert isinstance(broker, EmbeddedBroker)
        assert isinstance(broker._journal, SqliteBrokerJournal)
        statements: list[str] = []
        connection = broker._journal.folder.connection
        connection.set_trace_callback(statements.append)
        await publish(broker, *(b"%d" % number for number in range(count)))
        connection.set_trace_callback(None)
        words = [statement.split()[0] for statement in statements]
        if count in (1, 2, 32, 64):
            assert words == ["INSERT"]
        else:
            assert words == ["BEGIN", "INSERT", "INSERT", "COMMIT"]


# Restarts


async def test_a_group_continues_after_a_restart(folder: Path, times: Times) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await publish(broker, b"1", b"2", b"3", b"4")
        first, _, third, _ = await taken(member, 4)
        assert await member.ack(first.token)
        assert await member.ack(third.token)
    async with stopped(folder, times) as broker:
        assert list(await broker.topics()) == [LOG]
        (state,) = await broker.groups()
        assert (state.lag, state.under_way) == (2, 0)
        member = await broker.join(GROUP)
        again = await taken(member, 2)
        assert [(one.body, one.delivery) for one in again] == [(b"2", 2), (b"4", 2)]


async def test_retries_and_dead_letters_survive_a_restart(folder: Path, times: Times) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await broker.publish(
            [
                OutgoingMessage("a", b"retry"),
                OutgoingMessage("a", b"dead", "k", "id", headers={"x": "y"}, publisher="p"),
            ]
        )
        retried, dead = await taken(member, 2)
        assert await member.nack(retried.token, 10.0)
        assert await member.reject(dead.token, "no", "error")
        before = await broker.dead_letters("g")
    async with stopped(folder, times) as broker:
        assert await broker.dead_letters("g") == before
        member = await broker.join(GROUP)
        taking = asyncio.ensure_future(member.take(5))
        await asyncio.sleep(0)
        assert not taking.done()
        times.clock.advance(10.0)
        broker.catch_up()
        assert [(one.body, one.delivery) for one in await taking] == [(b"retry", 2)]
        assert await broker.replay("g", []) == 1
        assert [(one.body, one.delivery) for one in await member.take(5)] == [(b"dead", 1)]
    async with stopped(folder, times) as broker:
        member = await broker.join(GROUP)
        found = await taken(member, 2)
        assert [(one.body, one.delivery) for one in found] == [(b"retry", 3), (b"dead", 2)]


async def test_a_delayed_message_that_started_is_counted_across_restarts(folder: Path, times: Times) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await broker.publish([OutgoingMessage("a", b"1", delay=10.0)])
        member = await broker.join(GROUP)
        # The group passes it, and starts nothing.
        waiting = asyncio.ensure_future(member.take(1))
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
    for delivery in (1, 2, 3):
        async with stopped(folder, times) as broker:
            times.clock.advance(10.0)
            broker.catch_up()
            member = await broker.join(GROUP)
            assert [one.delivery for one in await taken(member, 1)] == [delivery]


async def test_an_id_is_kept_once_across_restarts(folder: Path, times: Times) -> None:
    message = OutgoingMessage("a", b"1", id="x")
    kept: list[Published] = []
    for _ in range(3):
        async with stopped(folder, times) as broker:
            await broker.declare(LOG)
            kept += await broker.publish([message])
        times.clock.advance(50.0)
    assert [(one.sequence, one.is_duplicate) for one in kept] == [(1, False), (1, True), (1, True)]
    async with stopped(folder, times) as broker:
        assert not (await broker.publish([message]))[0].is_duplicate


async def test_ids_of_the_broker_never_repeat(folder: Path, times: Times) -> None:
    ids = []
    for _ in range(2):
        async with stopped(folder, times) as broker:
            await broker.declare(LOG)
            ids += [one.id for one in await broker.publish([OutgoingMessage("a", b"")] * 3)]
    assert len(set(ids)) == 6


async def test_old_ids_leave_the_file(folder: Path, times: Times) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        for _ in range(4):
            await broker.publish([OutgoingMessage("a", b"", id=os.urandom(8).hex()) for _ in range(500)])
            times.clock.advance(121.0)
    with closing(sqlite3.connect(folder / "broker.db")) as file:
        assert file.execute("SELECT count(*) FROM ids").fetchone() == (500,)
    async with stopped(folder, times) as broker:
        assert broker.core.topics["a"].ids.size == 0


# Messages that are not in memory


async def test_the_bodies_of_dead_letters_are_in_the_file_alone(folder: Path, times: Times) -> None:
    bodies = [b"%d" % number * 1_000 for number in range(5)]
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await publish(broker, *bodies)
        rejected = [
            asyncio.ensure_future(member.reject(one.token, "no", "")) for one in await taken(member, 5)
        ]
        await asyncio.sleep(0)
        # These deaths wait for their commit.
        assert [one.body for one in await broker.dead_letters("g")] == bodies
        assert all(await asyncio.gather(*rejected))
        assert {one.record.body for one in broker.core.group("g").dead.all()} == {b""}
    async with stopped(folder, times) as broker:
        assert {one.record.body for one in broker.core.group("g").dead.all()} == {b""}
        letters = await broker.dead_letters("g")
        assert [one.body for one in letters] == bodies
        member = await broker.join(GROUP)
        assert await broker.replay("g", [letters[1].id, letters[3].id]) == 2
        again = await taken(member, 2)
        assert [one.body for one in again] == [bodies[1], bodies[3]]
        assert await member.reject(again[0].token, "again", "")
        assert [one.body for one in await broker.dead_letters("g")] == [*bodies[::2], bodies[1]]


async def test_messages_beyond_the_cache_are_read_in_order(folder: Path, times: Times) -> None:
    journal = SqliteBrokerJournal(folder, sync="normal", clock=times.clock)
    broker = EmbeddedBroker(
        BrokerLimits("sqlite"), journal, clock=times.clock, wall=times.wall, cache_bytes=20_000
    )
    async with broker:
        await broker.declare(LOG)
        late, keeping_up = await broker.join(GroupSettings("late", "a")), await broker.join(GROUP)
        for number in range(100):
            await broker.publish(
                [OutgoingMessage("a", b"%d %d" % (number, one), headers={"h": "v"}) for one in range(10)]
            )
            for one in await taken(keeping_up, 10):
                await keeping_up.ack(one.token)
        log = broker.core.topics["a"].log
        assert sum(log.is_held(number) for number in range(1, 1_001)) < 25
        found = [one.body async for one in _all(late, 1_000)]
        assert found == [b"%d %d" % (number, one) for number in range(100) for one in range(10)]
        assert sum(log.is_held(number) for number in range(1, 1_001)) < 25
        assert [group.lag for group in await broker.groups()] == [0, 0]


async def _all(member: Membership, count: int) -> AsyncIterator[Delivery]:
    while count:
        for one in await member.take(7):
            assert dict(one.headers) == {"h": "v"}
            await member.ack(one.token)
            count -= 1
            yield one


# Folders and URLs


async def test_a_folder_is_held_by_one_broker(folder: Path, times: Times) -> None:
    async with stopped(folder, times):
        with pytest.raises(BrokerError, match="another broker holds") as caught:
            await stopped(folder, times).__aenter__()
        assert "fastrpc broker copy" in str(caught.value)
        assert "fastrpc broker --data-dir" in str(caught.value)
    async with stopped(folder, times):
        pass


def test_a_url_names_an_absolute_folder_and_known_options(folder: Path) -> None:
    for text in ("sqlite://folder", "sqlite:///", f"sqlite://{folder}?sync=off", f"sqlite://{folder}?x=1"):
        with pytest.raises(ConfigError):
            open_sqlite(RegistryURL(text))
    assert isinstance(open_backend(f"sqlite://{folder}?sync=normal"), EmbeddedBroker)
