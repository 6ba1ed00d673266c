"""A broker in a folder and its two clocks; one of the clocks may jump."""

import asyncio
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fastrpc.brokers.base import (
    OutgoingMessage,
)
from tests.support.broker_folder import GROUP, LOG, Times, publish, stopped, taken


async def test_a_running_broker_counts_delays_by_its_own_clock(folder: Path, times: Times) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await broker.publish([OutgoingMessage("a", b"later", delay=60.0)])
        for jump in (3_600.0, -3_600.0):
            times.jump = jump
            taking = asyncio.ensure_future(member.take(1))
            await asyncio.sleep(0)
            broker.catch_up()
            await asyncio.sleep(0)
            assert not taking.done()
            taking.cancel()
            await asyncio.wait([taking])
        times.clock.advance(60.0)
        broker.catch_up()
        assert [one.body for one in await member.take(1)] == [b"later"]


@pytest.mark.parametrize(("jump", "is_due"), [(61.0, True), (30.0, False), (-3_600.0, False)])
async def test_delays_follow_the_wall_clock_across_a_restart(
    folder: Path, times: Times, jump: float, is_due: bool
) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await broker.join(GROUP)
        await broker.publish([OutgoingMessage("a", b"later", delay=60.0)])
    times.jump = jump
    async with stopped(folder, times) as broker:
        member = await broker.join(GROUP)
        await publish(broker, b"now")
        expected = [b"later", b"now"] if is_due else [b"now"]
        assert [one.body for one in await taken(member, len(expected))] == expected


AHEAD = 10 * 365 * 86_400.0


async def test_an_id_is_forgotten_in_time_after_the_wall_clock_ran_ahead(folder: Path, times: Times) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(replace(LOG, dedupe_seconds=5.0))
        times.jump = AHEAD
        await broker.publish([OutgoingMessage("a", b"", id="ahead")])
        times.jump = 0.0
        await broker.publish([OutgoingMessage("a", b"", id="right")])
    times.clock.advance(200.0)
    for id in ("ahead", "right"):
        async with stopped(folder, times) as broker:
            assert not (await broker.publish([OutgoingMessage("a", b"", id=id)]))[0].is_duplicate
            assert (await broker.publish([OutgoingMessage("a", b"", id=id)]))[0].is_duplicate
    async with stopped(folder, times) as broker:
        for id in ("ahead", "right"):
            assert (await broker.publish([OutgoingMessage("a", b"", id=id)]))[0].is_duplicate


async def test_ids_of_a_clock_that_ran_ahead_leave_the_file(folder: Path, times: Times) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        for jump in (AHEAD, 0.0, 0.0, 0.0):
            times.jump = jump
            await broker.publish([OutgoingMessage("a", b"", id=os.urandom(8).hex()) for _ in range(500)])
            times.clock.advance(121.0)
    with closing(sqlite3.connect(folder / "broker.db")) as file:
        assert file.execute("SELECT count(*) FROM ids").fetchone() == (500,)


@pytest.mark.parametrize("jump", [AHEAD, -AHEAD])
async def test_messages_grow_old_across_restarts_although_the_wall_clock_was_wrong(
    folder: Path, times: Times, jump: float
) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(replace(LOG, keep_seconds=100.0))
        await publish(broker, b"1")
        times.jump = jump
        await publish(broker, b"2")
        times.jump = 0.0
        await publish(broker, b"3")
    for messages in (3, 3, 0):
        times.clock.advance(40.0)
        async with stopped(folder, times) as broker:
            assert len(broker.core.topics["a"].log) == messages
