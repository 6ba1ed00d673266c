"""Acks of a consumer that waits for messages are committed with other changes, and reported once they are kept."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from fastrpc.brokers.base import BrokerLimits, GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.embedded import EmbeddedBroker, KeptChanges
from fastrpc.brokers.embedded.membership import EmbeddedMembership
from fastrpc.brokers.local.records import MessagesAppended, MessageSettled
from fastrpc.brokers.remote.consumer import Consumer
from fastrpc.brokers.remote.messages import ConsumeRequest
from fastrpc.brokers.sqlite import SqliteBrokerJournal
from fastrpc.errors import BrokerError
from fastrpc.status import Status
from tests.support.waiting import eventually

GROUP = GroupSettings("g", "a", "oldest")


class SeenJournal(SqliteBrokerJournal):
    """Notes the kinds of changes of each commit; the commits wait while they are held."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, sync="normal")
        self.commits: list[set[type]] = []
        self.is_committing, self.may_commit = threading.Event(), threading.Event()
        self.may_commit.set()
        self.error: Exception | None = None

    def commit(self, batch: Sequence[KeptChanges]) -> None:
        self.is_committing.set()
        assert self.may_commit.wait(20.0)
        kinds = {type(change) for one in batch for change in one.changes}
        if self.error is not None and MessagesAppended in kinds:
            raise self.error
        super().commit(batch)
        self.commits.append(kinds)


class Told:
    """The outcome of acks."""

    def __init__(self) -> None:
        self.found: tuple[Sequence[bool], BrokerError | None] | None = None

    @property
    def is_told(self) -> bool:
        return self.found is not None

    def __call__(self, settled: Sequence[bool], error: BrokerError | None) -> None:
        assert self.found is None
        self.found = settled, error


@pytest.fixture
def journal(tmp_path: Path) -> SeenJournal:
    return SeenJournal(tmp_path / "broker")


@pytest.fixture
async def broker(journal: SeenJournal) -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker(BrokerLimits("sqlite"), journal) as broker:
        await broker.declare(TopicSettings("a"))
        yield broker


async def with_message(broker: EmbeddedBroker, journal: SeenJournal) -> tuple[EmbeddedMembership, object]:
    """Return a member with the token of its message, of whose start the journal knows."""
    member = await broker.join(GROUP)
    await broker.publish([OutgoingMessage("a", b"1")])
    (delivery,) = await member.take(1)
    # Its start is counted within some milliseconds.
    await eventually(lambda: broker._progress is None)
    await broker.kept()
    journal.commits.clear()
    return member, delivery.token


async def test_an_ack_that_may_wait_is_kept_by_the_commit_of_the_next_message(
    broker: EmbeddedBroker, journal: SeenJournal
) -> None:
    member, token = await with_message(broker, journal)
    told = Told()
    member.begin_acks([token], told, may_wait=True)
    await broker.publish([OutgoingMessage("a", b"2")])
    assert told.found == ([True], None)
    assert {MessagesAppended, MessageSettled} <= journal.commits[0]


async def test_an_ack_that_may_wait_is_kept_without_other_changes(
    broker: EmbeddedBroker, journal: SeenJournal
) -> None:
    member, token = await with_message(broker, journal)
    told, again = Told(), Told()
    member.begin_acks([token], told, may_wait=True)
    await eventually(lambda: told.found)
    assert told.found == ([True], None)
    assert MessageSettled in journal.commits[0]
    member.begin_acks([token], again, may_wait=False)
    assert again.found == ([False], None)


async def test_an_ack_that_may_wait_does_so_during_takes(
    broker: EmbeddedBroker, journal: SeenJournal
) -> None:
    """Otherwise a message that comes alone would take two commits."""
    member, token = await with_message(broker, journal)
    found: list[object] = []
    member.begin_take(1, found.append)
    journal.may_commit.clear()
    journal.is_committing.clear()
    publishing = asyncio.ensure_future(broker.publish([OutgoingMessage("a", b"2")]))
    await eventually(journal.is_committing.is_set)
    told = Told()
    member.begin_acks([token], told, may_wait=True)
    # Nothing but the next message hands it to a commit.
    assert broker._progress is not None
    broker._progress.cancel()
    journal.may_commit.set()
    await publishing
    assert found
    member.begin_take(1, lambda take: None)
    await broker.kept()
    assert not told.is_told
    await broker.publish([OutgoingMessage("a", b"3")])
    assert told.found == ([True], None)
    assert len(journal.commits) == 2


async def test_an_ack_is_told_of_the_failure_of_its_broker(
    broker: EmbeddedBroker, journal: SeenJournal
) -> None:
    member, token = await with_message(broker, journal)
    told = Told()
    journal.error = OSError("the disk is gone")
    member.begin_acks([token], told, may_wait=True)
    with pytest.raises(BrokerError, match="the disk is gone"):
        await broker.publish([OutgoingMessage("a", b"2")])
    assert told.found is not None
    settled, error = told.found
    assert settled == [True]
    assert isinstance(error, BrokerError)
    assert "the disk is gone" in error.message


async def test_an_ack_next_to_a_message_without_room_is_kept(
    broker: EmbeddedBroker, journal: SeenJournal
) -> None:
    member, token = await with_message(broker, journal)
    told, later = Told(), Told()
    inner = journal._commit

    def commit(changes: Sequence[object], size: int) -> None:
        if any(type(one) is MessagesAppended for one in changes):
            raise BrokerError("full", status=Status.RESOURCE_EXHAUSTED, processed="no")
        inner(changes, size)  # type: ignore[arg-type]

    journal._commit = commit  # type: ignore[method-assign, assignment]
    member.begin_acks([token], told, may_wait=True)
    with pytest.raises(BrokerError, match="full"):
        await broker.publish([OutgoingMessage("a", b"2")])
    assert told.found == ([True], None)
    member.begin_acks([token], later, may_wait=True)
    assert later.found == ([False], None)


async def test_an_ack_after_a_commit_without_room_is_kept_by_a_later_one(
    broker: EmbeddedBroker, journal: SeenJournal
) -> None:
    member, token = await with_message(broker, journal)
    inner = journal._commit

    def commit(changes: Sequence[object], size: int) -> None:
        if any(type(one) is MessagesAppended for one in changes):
            raise BrokerError("full", status=Status.RESOURCE_EXHAUSTED, processed="no")
        inner(changes, size)  # type: ignore[arg-type]

    journal._commit = commit  # type: ignore[method-assign, assignment]
    journal.may_commit.clear()
    journal.is_committing.clear()
    publishing = asyncio.ensure_future(broker.publish([OutgoingMessage("a", b"2")]))
    await eventually(journal.is_committing.is_set)
    told = Told()
    member.begin_acks([token], told, may_wait=False)
    journal.may_commit.set()
    with pytest.raises(BrokerError, match="full"):
        await publishing
    await eventually(lambda: told.found)
    assert told.found == ([True], None)


async def test_a_right_that_fails_ends_its_consumer_and_no_publication(broker: EmbeddedBroker) -> None:
    """A publication ends the take in its own step."""

    def check() -> None:
        raise ZeroDivisionError

    async def requests() -> AsyncIterator[ConsumeRequest]:
        yield ConsumeRequest(take=1)
        await asyncio.Event().wait()

    member = await broker.join(GROUP)
    consumer = Consumer(member, check)
    consumer.begin(requests(), asyncio.get_running_loop().create_future())
    news = asyncio.ensure_future(consumer.next())
    await eventually(lambda: consumer._taking is not None)
    await broker.publish([OutgoingMessage("a", b"1")])
    with pytest.raises(ZeroDivisionError):
        await news
    await consumer.close()
    # The message is available to other members.
    other = await broker.join(GROUP)
    (delivery,) = await other.take(1)
    assert delivery.body == b"1"


async def test_an_ack_of_a_consumer_that_takes_nothing_more_may_wait(
    broker: EmbeddedBroker, journal: SeenJournal
) -> None:
    asked: asyncio.Queue[ConsumeRequest] = asyncio.Queue()

    async def requests() -> AsyncIterator[ConsumeRequest]:
        while True:
            yield await asked.get()

    consumer = Consumer(await broker.join(GROUP), lambda: None)
    consumer.begin(requests(), asyncio.get_running_loop().create_future())
    asked.put_nowait(ConsumeRequest(take=1))
    news = asyncio.ensure_future(consumer.next())
    await eventually(lambda: consumer._taking is not None)
    await broker.publish([OutgoingMessage("a", b"1")])
    result = await news
    assert result is not None
    # Its start is counted within some milliseconds.
    await eventually(lambda: broker._progress is None)
    await broker.kept()
    journal.commits.clear()
    asked.put_nowait(ConsumeRequest(acks=[result.deliveries[0].number], may_wait=True))
    await eventually(lambda: consumer._acks)
    # Only the next message hands it to a commit.
    assert broker._progress is not None
    broker._progress.cancel()
    await broker.kept()
    assert consumer._acks == 1
    await broker.publish([OutgoingMessage("a", b"2")])
    assert consumer._acks == 0
    await consumer.close()
