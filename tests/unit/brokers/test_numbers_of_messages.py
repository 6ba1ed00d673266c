"""Numbers of messages in a folder: the messages show the latest, and no number of a removed message comes again."""

import shutil
from pathlib import Path

import pytest

from fastrpc.brokers.base import BrokerBackend, GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.sqlite.copying import copy_broker
from fastrpc.brokers.sqlite.tables import BROKER
from fastrpc.stores.sqlite.file import log_path
from tests.support.broker_folder import LOG, Times, publish, stopped, taken

#: Bytes of a page in the log of SQLite, with its header.
FRAME_BYTES = BROKER.page_bytes + 24


async def _next_number(broker: BrokerBackend, name: str = "a") -> int:
    (published,) = await broker.publish([OutgoingMessage(name, b"next")])
    return published.sequence


async def test_a_commit_of_a_message_writes_only_pages_of_its_row_and_its_place(
    folder: Path, times: Times
) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await publish(broker, b"first")
        log = log_path(folder / "broker.db")
        before = log.stat().st_size
        await publish(broker, b"second")
        assert (log.stat().st_size - before) // FRAME_BYTES == 2


async def test_no_number_of_a_queue_comes_twice_when_its_latest_messages_have_left(
    folder: Path, times: Times
) -> None:
    queue = TopicSettings("a", None, ("g",))
    for left in ((2,), (0, 1, 2)):
        place = folder / str(len(left))
        async with stopped(place, times) as broker:
            await broker.declare(queue)
            member = await broker.join(GroupSettings("g", "a", "oldest"))
            await publish(broker, b"1", b"2", b"3")
            messages = await taken(member, 3)
            for number in left:
                assert await member.ack(messages[number].token)
        async with stopped(place, times) as broker:
            assert await _next_number(broker) == 4
        async with stopped(place, times) as broker:
            assert await _next_number(broker) == 5


async def test_no_number_of_a_log_comes_twice_when_all_its_messages_are_too_old(
    folder: Path, times: Times
) -> None:
    short = TopicSettings("a", 60.0)
    async with stopped(folder, times) as broker:
        await broker.declare(TopicSettings("b"))
        await broker.declare(short)
        await publish(broker, b"1", b"2")
        times.clock.advance(61.0)
        broker.catch_up()
        # Of another topic: the numbers of all messages continue as well.
        assert await _next_number(broker, "b") == 1
    async with stopped(folder, times) as broker:
        assert await _next_number(broker) == 3
        assert await _next_number(broker, "b") == 2


async def test_a_copy_continues_after_the_latest_message(folder: Path, times: Times, tmp_path: Path) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await publish(broker, b"1", b"2", b"3")
    copy_broker(folder, tmp_path / "new")
    async with stopped(tmp_path / "new", times) as broker:
        assert await _next_number(broker) == 4


async def test_a_copy_of_a_killed_broker_goes_on_behind_all_reserved_numbers(
    folder: Path, times: Times, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastrpc.stores.sqlite.numbers._BLOCK", 1 << 30)
    killed = tmp_path / "killed"
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await publish(broker, b"1")
        shutil.copytree(folder, killed)
    copy_broker(killed, tmp_path / "new")
    async with stopped(tmp_path / "new", times) as broker:
        assert await _next_number(broker) > 1 << 30
