"""A damaged file of a broker: all that is whole is used, and copied."""

import contextlib
import logging
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from fastrpc.brokers.base import (
    Delivery,
    Membership,
    OutgoingMessage,
    TopicSettings,
)
from fastrpc.brokers.sqlite.copying import copy_broker
from fastrpc.brokers.sqlite.tables import BROKER
from fastrpc.errors import BrokerError
from fastrpc.status import Status
from tests.support.broker_folder import GROUP, LOG, Times, damage, publish, stopped, taken
from tests.support.left_journal import journal_of_switch


async def test_a_damaged_message_is_not_delivered_and_its_neighbours_are(
    folder: Path, times: Times, caplog: pytest.LogCaptureFixture
) -> None:
    bodies = [b"%d " % number * 100 for number in range(5)]
    for settings in (LOG, TopicSettings("a", None, ("g",))):
        place = folder / str(settings.keep_seconds)
        async with stopped(place, times) as broker:
            await broker.declare(settings)
            await broker.join(GROUP)
            await publish(broker, *bodies)
        damage(place, bodies[2])
        caplog.clear()
        async with stopped(place, times) as broker:
            member = await broker.join(GROUP)
            for one in await taken(member, 4):
                assert one.body != bodies[2]
                await member.ack(one.token)
            assert [group.lag for group in await broker.groups()] == [0]
            assert broker.counts()["a"].damaged == 1
        assert "the message 3 of a is damaged" in caplog.text
        async with stopped(place, times) as broker:
            assert [group.lag for group in await broker.groups()] == [0]
        with closing(sqlite3.connect(place / "broker.db")) as file:
            assert (3,) in file.execute("SELECT sequence FROM messages").fetchall()


@pytest.mark.parametrize("fault", ["empty", "other", "newer", "no table", "missing"])
async def test_a_file_that_cannot_be_used_is_refused_and_names_the_copy(
    folder: Path, times: Times, fault: str
) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
    path = folder / "broker.db"
    if fault == "empty":
        path.write_bytes(b"")
    elif fault == "other":
        path.write_bytes(b"x" * 8192)
    elif fault == "missing":
        path.unlink()
    else:
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            file.execute("PRAGMA user_version = 2" if fault == "newer" else "DROP TABLE messages")
    with pytest.raises(BrokerError) as caught:
        await stopped(folder, times).__aenter__()
    assert caught.value.status in (Status.DATA_LOSS, Status.FAILED_PRECONDITION)
    assert "fastrpc broker copy FOLDER NEW" in str(caught.value)


# Copies


async def test_a_copy_has_every_readable_row(folder: Path, times: Times, tmp_path: Path) -> None:
    bodies = [b"%d " % number * 100 for number in range(5)]
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await publish(broker, *bodies)
        first, second, *_ = await taken(member, 5)
        await member.ack(first.token)
        await member.reject(second.token, "no", "")
        with pytest.raises(BrokerError, match="another broker holds"):
            copy_broker(folder, tmp_path / "early")
    damage(folder, bodies[3])
    new = tmp_path / "new"
    report = copy_broker(folder, new)
    assert (report.topics, report.groups, report.messages, report.dead, report.damaged) == (1, 1, 4, 1, 1)
    with pytest.raises(BrokerError, match="exists"):
        copy_broker(folder, new)
    with pytest.raises(BrokerError, match="has no broker"):
        copy_broker(tmp_path, tmp_path / "other")
    async with stopped(new, times) as broker:
        member = await broker.join(GROUP)
        found = await taken(member, 2)
        assert [(one.body, one.delivery) for one in found] == [(bodies[2], 2), (bodies[4], 2)]
        assert [one.body for one in await broker.dead_letters("g")] == [bodies[1]]
        (kept,) = await broker.publish([OutgoingMessage("a", b"")])
        assert kept.sequence > 5


async def test_a_copy_rolls_back_a_journal_that_a_power_cut_left(
    folder: Path, times: Times, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await publish(broker, *(b"%d" % number for number in range(30)))
        shutil.copytree(folder, killed)
    left = journal_of_switch(killed / "broker.db", tmp_path / "scratch.db")
    (killed / "broker.db-journal").write_bytes(left)
    assert copy_broker(killed, tmp_path / "new").messages == 30


async def test_a_copy_continues_after_a_damaged_page(folder: Path, times: Times, tmp_path: Path) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await publish(broker, *(b"%d " % number * 100 for number in range(300)))
    path = folder / "broker.db"
    content = bytearray(path.read_bytes())
    at = content.index(b"150 " * 20) // BROKER.page_bytes * BROKER.page_bytes
    content[at : at + BROKER.page_bytes] = b"\xff" * BROKER.page_bytes
    path.write_bytes(content)
    report = copy_broker(folder, tmp_path / "new")
    assert report.damaged >= 1
    assert 250 < report.messages < 300
    async with stopped(tmp_path / "new", times) as broker:
        member = await broker.join(GROUP)
        found = [int(one.body.split()[0]) for one in await taken(member, report.messages)]
        assert {0, 299} <= set(found)


async def test_a_damaged_page_loses_its_messages_alone(
    folder: Path, times: Times, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await publish(broker, *(b"%d " % number * 100 for number in range(100)))
    path = folder / "broker.db"
    content = bytearray(path.read_bytes())
    at = content.index(b"50 " * 20) // BROKER.page_bytes * BROKER.page_bytes
    content[at : at + BROKER.page_bytes] = b"\xff" * BROKER.page_bytes
    path.write_bytes(content)
    async with stopped(folder, times) as broker:
        member = await broker.join(GROUP)
        await publish(broker, b"last")
        found = [one.body async for one in _until(member, b"last")]
        lost = broker.counts()["a"].damaged
        assert 1 <= lost < 40
        assert len(found) == 101 - lost


async def _until(member: Membership, body: bytes) -> AsyncIterator[Delivery]:
    while True:
        for one in await member.take(10):
            await member.ack(one.token)
            yield one
            if one.body == body:
                return


# Rows that cannot be

DAMAGES = {
    "a letter as text": "UPDATE letters SET head = 'text'",
    "the body of a letter as text": "UPDATE letters SET body = 'text'",
    "settings as text": "UPDATE topics SET settings = 'text'",
    "settings with a bit flipped": "UPDATE topics SET settings = x'ff'",
    "settings of another topic": "UPDATE topics SET name = 'b'",
    "a number as text": "UPDATE topics SET last = 'text'",
    "an instant as text": "UPDATE messages SET kept = 'text'",
    "a place as text": "UPDATE positions SET position = 'text'",
    "a name that is not UTF-8": "UPDATE positions SET name = CAST(x'ff' AS TEXT)",
    "a pattern that is none": "UPDATE positions SET pattern = 'a..b'",
    "a topic that is missing": "DELETE FROM topics",
    "a count as text": "UPDATE counted SET deliveries = 'text', due = 'text'",
    "a letter without a number": "UPDATE letters SET number = 'text'",
    "a settled message as text": "UPDATE settled SET sequence = 'text'",
    "the name of a message as bytes": "UPDATE messages SET name = x'ff'",
    "an id as an instant": "UPDATE ids SET kept = 'text'",
}


async def damaged_by(folder: Path, times: Times, statement: str) -> None:
    """Leave a broker with a row of each table, and damage it."""
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await broker.publish([OutgoingMessage("a", b"%d" % number, id=str(number)) for number in range(5)])
        first, second, third, *_ = await taken(member, 5)
        await member.reject(first.token, "no", "")
        await member.nack(second.token, 10.0)
        await member.ack(third.token)
    with closing(sqlite3.connect(folder / "broker.db", isolation_level=None)) as file:
        file.execute(statement)


@pytest.mark.parametrize("statement", DAMAGES.values(), ids=DAMAGES)
async def test_a_row_that_cannot_be_is_left_out_or_refused_and_never_a_traceback(
    folder: Path, times: Times, tmp_path: Path, statement: str
) -> None:
    await damaged_by(folder, times, statement)
    with contextlib.suppress(BrokerError):
        async with stopped(folder, times) as broker:
            await publish(broker, b"new")
    report = copy_broker(folder, tmp_path / "new")
    assert report.damaged or "DELETE" in statement
    async with stopped(tmp_path / "new", times) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await publish(broker, b"new")
        while b"new" not in [one.body for one in await member.take(10)]:
            pass


@pytest.mark.parametrize(
    "statement", [one for name, one in DAMAGES.items() if "letter" not in name and "messages" not in one]
)
async def test_a_table_with_a_row_that_cannot_be_is_refused_and_names_the_copy(
    folder: Path, times: Times, statement: str
) -> None:
    await damaged_by(folder, times, statement)
    with pytest.raises(BrokerError, match="fastrpc broker copy FOLDER NEW") as caught:
        await stopped(folder, times).__aenter__()
    assert caught.value.status is Status.DATA_LOSS


async def test_a_copy_that_fails_leaves_no_file(folder: Path, times: Times, tmp_path: Path) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
    path = folder / "broker.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("PRAGMA user_version = 2")
    for _ in range(2):
        with pytest.raises(BrokerError, match="has schema 2"):
            copy_broker(folder, tmp_path / "new")
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("PRAGMA user_version = 1")
        file.execute("ALTER TABLE topics RENAME TO others")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastrpc.brokers.sqlite.copying.sync_path", fails)
        with pytest.raises(OSError, match="no sync"):
            copy_broker(folder, tmp_path / "new")
    assert [one.name for one in tmp_path.iterdir()] == ["broker"]
    assert copy_broker(folder, tmp_path / "new").topics == 0


def fails(_: Path) -> None:
    raise OSError("no sync")
