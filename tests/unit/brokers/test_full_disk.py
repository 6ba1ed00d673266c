"""A disk without room: its messages are refused, and all else is kept. A failed sync ends the broker."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastrpc.brokers.base import BrokerBackend, BrokerLimits, GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.embedded import EmbeddedBroker, KeptChanges
from fastrpc.brokers.local.records import MessagesAppended
from fastrpc.brokers.sqlite import SqliteBrokerJournal
from fastrpc.errors import BrokerError
from fastrpc.status import Status
from tests.support.waiting import eventually

LONG = b"x" * 256 * 1024
GROUP = GroupSettings("g", "a", "oldest")


class SmallDisk(SqliteBrokerJournal):
    """A journal whose file may have a few pages more, and whose commits wait while they are held."""

    #: Pages that a commit may add; None: any number.
    spare: int | None = 8
    error: Exception | None = None

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, sync="normal")
        self.is_committing, self.may_commit = threading.Event(), threading.Event()
        self.may_commit.set()

    def commit(self, batch: Sequence[KeptChanges]) -> None:
        self.is_committing.set()
        self.may_commit.wait(20.0)
        if self.error is not None:
            raise self.error
        connection = self.folder.connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {1 << 30 if self.spare is None else pages + self.spare}")
        super().commit(batch)


@pytest.fixture
def disk(tmp_path: Path) -> SmallDisk:
    return SmallDisk(tmp_path / "broker")


@pytest.fixture
async def broker(disk: SmallDisk) -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker(BrokerLimits("sqlite"), disk) as broker:
        await broker.declare(TopicSettings("a"))
        yield broker


def publishing(broker: BrokerBackend, body: bytes, id: str | None = None) -> asyncio.Future[object]:
    return asyncio.ensure_future(broker.publish([OutgoingMessage("a", body, id=id)]))


def is_full(error: object) -> bool:
    return (
        isinstance(error, BrokerError)
        and (error.status, error.processed, error.retryable) == (Status.RESOURCE_EXHAUSTED, "no", True)
        and error.retry_after is not None
        and "disk of the broker is full" in error.message
    )


async def test_a_message_without_room_is_refused_and_all_else_is_kept(disk: SmallDisk) -> None:
    async with EmbeddedBroker(BrokerLimits("sqlite"), disk) as broker:
        await broker.declare(TopicSettings("a"))
        member = await broker.join(GROUP)
        await broker.publish(
            [OutgoingMessage("a", b"1"), OutgoingMessage("a", b"2"), OutgoingMessage("a", b"3")]
        )
        first, second, third = await member.take(3)
        disk.may_commit.clear()
        disk.is_committing.clear()
        long = publishing(broker, LONG, "id")
        acks = [asyncio.ensure_future(member.ack(first.token))]
        await eventually(disk.is_committing.is_set)
        # These are of the next commit.
        acks.append(asyncio.ensure_future(member.ack(second.token)))
        acks.append(asyncio.ensure_future(member.reject(third.token, "no", "")))
        beside = publishing(broker, b"beside")
        await asyncio.sleep(0)
        disk.may_commit.set()
        refused = await asyncio.gather(long, beside, return_exceptions=True)
        assert all(is_full(error) for error in refused)
        assert await asyncio.gather(*acks) == [True, True, True]
        (state,) = await broker.groups()
        assert (state.lag, state.dead) == (0, 1)
        (kept,) = await broker.publish([OutgoingMessage("a", b"4", id="id")])
        assert (kept.sequence, kept.is_duplicate) == (4, False)
    async with EmbeddedBroker(BrokerLimits("sqlite"), SqliteBrokerJournal(disk.folder.place)) as again:
        (state,) = await again.groups()
        assert (state.lag, state.dead) == (1, 1)
        assert [one.body for one in await (await again.join(GROUP)).take(5)] == [b"4"]


async def test_messages_are_refused_before_the_disk_is_full_and_acks_are_kept(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await broker.join(GROUP)
    await broker.publish([OutgoingMessage("a", b"1")])
    (one,) = await member.take(1)
    monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(f_bavail=63, f_frsize=1024 * 1024))
    with pytest.raises(BrokerError) as caught:
        await broker.publish([OutgoingMessage("a", b"2")])
    assert is_full(caught.value)
    assert await member.ack(one.token)
    monkeypatch.undo()
    await broker.publish([OutgoingMessage("a", b"2")])
    assert [one.body for one in await member.take(5)] == [b"2"]


@pytest.mark.parametrize("has_room", [True, False])
async def test_an_ack_that_waits_for_room_is_kept_or_unknown_when_the_broker_closes(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch, has_room: bool
) -> None:
    broker = EmbeddedBroker(BrokerLimits("sqlite"), disk)
    async with broker:
        await broker.declare(TopicSettings("a"))
        member = await broker.join(GROUP)
        await broker.publish([OutgoingMessage("a", b"1")])
        (one,) = await member.take(1)
        full = BrokerError("full", status=Status.RESOURCE_EXHAUSTED, processed="no")
        tried = threading.Event()

        def commit(*_: object, **__: object) -> None:
            tried.set()
            raise full

        monkeypatch.setattr(disk.folder, "commit", commit)
        acking = asyncio.ensure_future(member.ack(one.token))
        await eventually(tried.is_set)
        if has_room:
            # The commit is tried again once a second; now it closes.
            monkeypatch.undo()
    (outcome,) = await asyncio.gather(acking, return_exceptions=True)
    monkeypatch.undo()
    async with EmbeddedBroker(BrokerLimits("sqlite"), SqliteBrokerJournal(disk.folder.place)) as again:
        (state,) = await again.groups()
    if outcome is True:
        assert state.lag == 0
    else:
        assert isinstance(outcome, BrokerError)
        assert outcome.processed == "unknown"


@pytest.mark.parametrize("verb", ["publish", "ack", "take"])
async def test_a_failed_commit_ends_the_broker(disk: SmallDisk, verb: str) -> None:
    failures: list[BrokerError] = []
    broker = EmbeddedBroker(BrokerLimits("sqlite"), disk, on_failed=failures.append)
    async with broker:
        await broker.declare(TopicSettings("a"))
        member = await broker.join(GROUP)
        await broker.publish([OutgoingMessage("a", b"1")])
        (one,) = await member.take(1)
        disk.error = OSError("the sync failed")
        verbs: dict[str, Callable[[], object]] = {
            "publish": lambda: broker.publish([OutgoingMessage("a", b"2")]),
            "ack": lambda: member.ack(one.token),
            "take": lambda: member.take(1),
        }
        waiting = asyncio.ensure_future(verbs[verb]())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        ending = publishing(broker, b"3")
        for outcome in await asyncio.gather(waiting, ending, return_exceptions=True):
            assert isinstance(outcome, BrokerError)
            assert "cannot be written" in outcome.message
        for after in verbs.values():
            with pytest.raises(BrokerError, match="the sync failed"):
                await after()  # type: ignore[misc]
        assert len(failures) == 1


async def test_a_member_leaves_a_broker_that_has_failed(disk: SmallDisk) -> None:
    async with EmbeddedBroker(BrokerLimits("sqlite"), disk) as broker:
        await broker.declare(TopicSettings("a"))
        member = await broker.join(GROUP)
        disk.error = OSError("the sync failed")
        with pytest.raises(BrokerError, match="cannot be written"):
            await publishing(broker, b"1")
        await member.close()


async def test_a_cancelled_take_ends_so_where_its_broker_fails_in_the_same_turn(disk: SmallDisk) -> None:
    class FailsWithMessages(EmbeddedBroker):
        def _keep(self, batch: Sequence[KeptChanges]) -> None:
            super()._keep(batch)
            if any(isinstance(change, MessagesAppended) for one in batch for change in one.changes):
                taking.cancel()
                self._fail(OSError("the disk is gone"))

    async with FailsWithMessages(BrokerLimits("sqlite"), disk) as broker:
        await broker.declare(TopicSettings("a"))
        member = await broker.join(GROUP)
        taking = asyncio.ensure_future(member.take(1))
        await asyncio.sleep(0)
        with pytest.raises(BrokerError, match="the disk is gone"):
            await publishing(broker, b"1")
        with pytest.raises(asyncio.CancelledError):
            await taking
