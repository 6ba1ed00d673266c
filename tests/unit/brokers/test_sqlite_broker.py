"""The broker in a folder: the contract, and what only this one can do."""

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastrpc.brokers.base import (
    BrokerBackend,
    BrokerLimits,
    Delivery,
    GroupSettings,
    Membership,
    OutgoingMessage,
    Published,
    TopicSettings,
)
from fastrpc.brokers.base.texts import kept_text
from fastrpc.brokers.broker_urls import open_backend, refuse_several_processes
from fastrpc.brokers.embedded import EmbeddedBroker
from fastrpc.brokers.sqlite import SqliteBrokerJournal, open_sqlite
from fastrpc.brokers.sqlite.copying import copy_broker
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.status import Status
from fastrpc.testing.broker_contract import BrokerContract
from tests.support.messages.stopped import Times, stopped_sqlite

LOG = TopicSettings("a")
GROUP = GroupSettings("g", "a", "oldest")


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "broker"


class TestContract(BrokerContract):
    """It keeps the contract."""

    @pytest.fixture
    async def broker(self, folder: Path, times: Times) -> AsyncIterator[BrokerBackend]:
        self.times = times
        async with stopped_sqlite(folder, times) as broker:
            yield broker

    async def pass_time(self, broker: BrokerBackend, seconds: float) -> None:
        assert isinstance(broker, EmbeddedBroker)
        self.times.advance(seconds, broker)


async def publish(broker: BrokerBackend, *bodies: bytes) -> None:
    await broker.publish([OutgoingMessage("a", body) for body in bodies])


async def taken(member: Membership, count: int) -> Sequence[Delivery]:
    found: list[Delivery] = []
    while len(found) < count:
        found += await member.take(count - len(found))
    return found


def len_of(value: int) -> str:
    """Return the name of a test with a whole number."""
    return f"{value.bit_length()} bits"


def damage(folder: Path, body: bytes) -> None:
    """Flip a bit of a body in the file."""
    path = folder / "broker.db"
    content = bytearray(path.read_bytes())
    content[content.index(body)] ^= 1
    path.write_bytes(content)


# Values of callers


@pytest.mark.parametrize("place", [2**63 - 1, 2**63, 9_999_999_999_999_999_999, 2**70, 10**5000], ids=len_of)
async def test_a_place_of_any_size_is_kept_or_refused(folder: Path, times: Times, place: int) -> None:
    async with stopped_sqlite(folder, times) as broker:
        await broker.declare(LOG)
        await broker.join(GROUP)
        with contextlib.suppress(ConfigError):
            await broker.seek("g", place)
        with contextlib.suppress(ConfigError):
            await broker.join(GroupSettings("other", "a", place))
        await publish(broker, b"1")


@pytest.mark.parametrize("value", [2**63 - 1, 2**63, 2**64, 10**30, 10**5000], ids=len_of)
@pytest.mark.parametrize("option", ["max_bytes", "keep_seconds", "dedupe_seconds"])
async def test_a_setting_of_any_size_is_kept_or_refused(
    folder: Path, times: Times, option: str, value: int
) -> None:
    topic = replace(TopicSettings("b"), **{option: value})
    for _ in range(2):
        async with stopped_sqlite(folder, times) as broker:
            await broker.declare(LOG)
            with contextlib.suppress(ConfigError):
                await broker.declare(topic)
                assert getattr((await broker.topics())[1], option) == pytest.approx(value)
            await publish(broker, b"1")


@pytest.mark.parametrize("text", ["\ud800", "x" * 5_000 + "\udfff", "\x00", "é" * 5_000])
async def test_a_reason_and_an_error_of_any_characters_are_kept(
    folder: Path, times: Times, text: str
) -> None:
    async with stopped_sqlite(folder, times) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await publish(broker, b"1")
        (one,) = await member.take(1)
        assert await member.reject(one.token, text, text)
        before = await broker.dead_letters("g")
        await publish(broker, b"2")
    async with stopped_sqlite(folder, times) as broker:
        assert await broker.dead_letters("g") == before
        assert (before[0].reason, before[0].error) == (kept_text(text), kept_text(text))


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "\ud800"},
        {"id": "\ud800"},
        {"publisher": "\ud800"},
        {"headers": {"\ud800": ""}},
        {"headers": {"x": "\ud800"}},
    ],
)
async def test_a_message_with_a_text_that_is_no_utf_8_is_refused(
    folder: Path, times: Times, fields: dict[str, Any]
) -> None:
    async with stopped_sqlite(folder, times) as broker:
        await broker.declare(LOG)
        with pytest.raises(BrokerError, match="has a text that is no UTF-8") as caught:
            await broker.publish([OutgoingMessage("a", b"1", **fields)])
        assert (caught.value.status, caught.value.processed) == (Status.INVALID_ARGUMENT, "no")
        await publish(broker, b"2")


# Restarts


async def test_a_group_goes_on_after_a_restart(folder: Path, times: Times) -> None:
    async with stopped_sqlite(folder, times) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await publish(broker, b"1", b"2", b"3", b"4")
        first, _, third, _ = await taken(member, 4)
        assert await member.ack(first.token)
        assert await member.ack(third.token)
    async with stopped_sqlite(folder, times) as broker:
        assert list(await broker.topics()) == [LOG]
        (state,) = await broker.groups()
        assert (state.lag, state.under_way) == (2, 0)
        member = await broker.join(GROUP)
        again = await taken(member, 2)
        assert [(one.body, one.delivery) for one in again] == [(b"2", 2), (b"4", 2)]


async def test_retries_and_dead_letters_survive_a_restart(folder: Path, times: Times) -> None:
    async with stopped_sqlite(folder, times) as broker:
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
    async with stopped_sqlite(folder, times) as broker:
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
    async with stopped_sqlite(folder, times) as broker:
        member = await broker.join(GROUP)
        found = await taken(member, 2)
        assert [(one.body, one.delivery) for one in found] == [(b"retry", 3), (b"dead", 2)]


async def test_an_id_is_kept_once_across_restarts(folder: Path, times: Times) -> None:
    message = OutgoingMessage("a", b"1", id="x")
    kept: list[Published] = []
    for _ in range(3):
        async with stopped_sqlite(folder, times) as broker:
            await broker.declare(LOG)
            kept += await broker.publish([message])
        times.clock.advance(50.0)
    assert [(one.sequence, one.is_duplicate) for one in kept] == [(1, False), (1, True), (1, True)]
    async with stopped_sqlite(folder, times) as broker:
        assert not (await broker.publish([message]))[0].is_duplicate


async def test_ids_of_the_broker_never_repeat(folder: Path, times: Times) -> None:
    ids = []
    for _ in range(2):
        async with stopped_sqlite(folder, times) as broker:
            await broker.declare(LOG)
            ids += [one.id for one in await broker.publish([OutgoingMessage("a", b"")] * 3)]
    assert len(set(ids)) == 6


async def test_old_ids_leave_the_file(folder: Path, times: Times) -> None:
    async with stopped_sqlite(folder, times) as broker:
        await broker.declare(LOG)
        for _ in range(4):
            await broker.publish([OutgoingMessage("a", b"", id=os.urandom(8).hex()) for _ in range(500)])
            times.clock.advance(121.0)
    with closing(sqlite3.connect(folder / "broker.db")) as file:
        assert file.execute("SELECT count(*) FROM ids").fetchone() == (500,)
    async with stopped_sqlite(folder, times) as broker:
        assert broker.core.topics["a"].ids.size == 0


# Clocks


async def test_a_running_broker_counts_delays_by_its_own_clock(folder: Path, times: Times) -> None:
    async with stopped_sqlite(folder, times) as broker:
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
    async with stopped_sqlite(folder, times) as broker:
        await broker.declare(LOG)
        await broker.join(GROUP)
        await broker.publish([OutgoingMessage("a", b"later", delay=60.0)])
    times.jump = jump
    async with stopped_sqlite(folder, times) as broker:
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


# Messages that are not in memory


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


# Damage


async def test_a_damaged_message_is_not_delivered_and_its_neighbours_are(
    folder: Path, times: Times, caplog: pytest.LogCaptureFixture
) -> None:
    bodies = [b"%d " % number * 100 for number in range(5)]
    for settings in (LOG, TopicSettings("a", None, ("g",))):
        place = folder / str(settings.keep_seconds)
        async with stopped_sqlite(place, times) as broker:
            await broker.declare(settings)
            await broker.join(GROUP)
            await publish(broker, *bodies)
        damage(place, bodies[2])
        caplog.clear()
        async with stopped_sqlite(place, times) as broker:
            member = await broker.join(GROUP)
            for one in await taken(member, 4):
                assert one.body != bodies[2]
                await member.ack(one.token)
            assert [group.lag for group in await broker.groups()] == [0]
            assert broker.counts()["a"].damaged == 1
        assert "the message 3 of a is damaged" in caplog.text
        async with stopped_sqlite(place, times) as broker:
            assert [group.lag for group in await broker.groups()] == [0]
        with closing(sqlite3.connect(place / "broker.db")) as file:
            assert (3,) in file.execute("SELECT sequence FROM messages").fetchall()


@pytest.mark.parametrize("fault", ["empty", "other", "newer", "no table", "missing"])
async def test_a_file_that_cannot_be_used_is_refused_and_names_the_copy(
    folder: Path, times: Times, fault: str
) -> None:
    async with stopped_sqlite(folder, times) as broker:
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
        await stopped_sqlite(folder, times).__aenter__()
    assert caught.value.status in (Status.DATA_LOSS, Status.FAILED_PRECONDITION)
    assert "fastrpc broker copy FOLDER NEW" in str(caught.value)


async def test_a_folder_is_held_by_one_broker(folder: Path, times: Times) -> None:
    async with stopped_sqlite(folder, times):
        with pytest.raises(BrokerError, match="another broker holds") as caught:
            await stopped_sqlite(folder, times).__aenter__()
        assert "fastrpc broker copy" in str(caught.value)
        assert "fastrpc broker --data-dir" in str(caught.value)
    async with stopped_sqlite(folder, times):
        pass


def test_a_url_names_an_absolute_folder_and_known_options(folder: Path) -> None:
    for text in ("sqlite://folder", "sqlite:///", f"sqlite://{folder}?sync=off", f"sqlite://{folder}?x=1"):
        with pytest.raises(ConfigError):
            open_sqlite(RegistryURL(text))
    assert isinstance(open_backend(f"sqlite://{folder}?sync=normal"), EmbeddedBroker)


def test_several_workers_need_a_broker_that_serves_them(folder: Path) -> None:
    with pytest.raises(ConfigError, match="fastrpc broker --data-dir"):
        refuse_several_processes(f"sqlite://{folder}?sync=normal")
    for text in ("memory://name", "broker://127.0.0.1:8971", "nats://127.0.0.1:4222"):
        refuse_several_processes(text)


# Copies


async def test_a_copy_has_all_that_is_readable(folder: Path, times: Times, tmp_path: Path) -> None:
    bodies = [b"%d " % number * 100 for number in range(5)]
    async with stopped_sqlite(folder, times) as broker:
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
    async with stopped_sqlite(new, times) as broker:
        member = await broker.join(GROUP)
        found = await taken(member, 2)
        assert [(one.body, one.delivery) for one in found] == [(bodies[2], 2), (bodies[4], 2)]
        assert [one.body for one in await broker.dead_letters("g")] == [bodies[1]]
        (kept,) = await broker.publish([OutgoingMessage("a", b"")])
        assert kept.sequence > 5


async def test_a_copy_goes_on_behind_a_damaged_page(folder: Path, times: Times, tmp_path: Path) -> None:
    async with stopped_sqlite(folder, times) as broker:
        await broker.declare(LOG)
        await publish(broker, *(b"%d " % number * 100 for number in range(300)))
    path = folder / "broker.db"
    content = bytearray(path.read_bytes())
    at = content.index(b"150 " * 20) // 4096 * 4096
    content[at : at + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    report = copy_broker(folder, tmp_path / "new")
    assert report.damaged >= 1
    assert 250 < report.messages < 300
    async with stopped_sqlite(tmp_path / "new", times) as broker:
        member = await broker.join(GROUP)
        found = [int(one.body.split()[0]) for one in await taken(member, report.messages)]
        assert {0, 299} <= set(found)


async def test_a_damaged_page_loses_its_messages_alone(
    folder: Path, times: Times, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with stopped_sqlite(folder, times) as broker:
        await broker.declare(LOG)
        await publish(broker, *(b"%d " % number * 100 for number in range(100)))
    path = folder / "broker.db"
    content = bytearray(path.read_bytes())
    at = content.index(b"50 " * 20) // 4096 * 4096
    content[at : at + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    async with stopped_sqlite(folder, times) as broker:
        member = await broker.join(GROUP)
        await publish(broker, b"last")
        found = [one.body async for one in _until(member, b"last")]
        lost = broker.counts()["a"].damaged
        assert 1 <= lost < 20
        assert len(found) == 101 - lost


async def _until(member: Membership, body: bytes) -> AsyncIterator[Delivery]:
    while True:
        for one in await member.take(10):
            await member.ack(one.token)
            yield one
            if one.body == body:
                return
