"""The broker of this process against a model in plain words, over random histories with restarts."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from fastrpc.brokers.base import Delivery, GroupSettings, OutgoingMessage, Published, TopicSettings
from fastrpc.brokers.base.checks import check_outgoing
from fastrpc.brokers.local import delayed
from fastrpc.brokers.local.core import BrokerCore
from fastrpc.brokers.local.group import MessageGroup
from fastrpc.brokers.local.key_lines import KeyLines
from fastrpc.brokers.local.records import RECORD_BYTES, Entry, GroupMember, Record
from fastrpc.brokers.local.repeats import Repeats, UnreadError
from fastrpc.errors import BrokerError
from fastrpc.status import Status
from tests.conftest import Scale
from tests.support.broker_journal import BrokerJournal
from tests.support.broker_model import Held, Message, ModelBroker, ModelGroup
from tests.support.sqlite_journal import SqliteHistory

STEPS = 500
#: For which publications are repeated.
REPEATED_SECONDS = 50.0
WALL = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = (None, "a", "b", "c")

TOPICS = (
    TopicSettings("t", max_bytes=40_000, keep_seconds=60.0, dedupe_seconds=20.0),
    TopicSettings("t.**", max_bytes=1_000_000, keep_seconds=100.0, dedupe_seconds=20.0),
    TopicSettings("t", keep_seconds=None, groups=("one", "two"), max_bytes=40_000, dedupe_seconds=20.0),
    TopicSettings("t.*", keep_seconds=None, groups=("one", "two"), max_bytes=1_000_000, dedupe_seconds=20.0),
)


@dataclass(eq=False)
class Joined:
    """A member, here and there."""

    group: MessageGroup
    member: GroupMember
    model: ModelGroup


@dataclass(eq=False)
class Run:
    """One random history."""

    seed: int
    core_class: type[BrokerCore]
    #: For the file of the broker; None: its journal is in memory.
    folder: Path | None = None
    #: Delays of messages; one is chosen for each message.
    delays: tuple[float, ...] = (0.0, 0.0, 0.0, 5.0)
    now: float = 0.0
    joined: list[Joined] = field(default_factory=list)
    tokens: list[tuple[Joined, Delivery, Held]] = field(default_factory=list)
    # Groups that gave fewer messages than asked for, and were not roused since.
    idle: set[MessageGroup] = field(default_factory=set)
    uncommitted: list[Record] = field(default_factory=list)
    #: The first attempts of publications without an id of the publisher, with their instants.
    firsts: list[tuple[OutgoingMessage, float]] = field(default_factory=list)
    was_restarted: bool = False

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.settings = TOPICS[self.seed % len(TOPICS)]
        self.names = [self.settings.name] if self.settings.name == "t" else ["t.x", "t.y"]
        self.journal: BrokerJournal | SqliteHistory = BrokerJournal()
        if self.folder is not None:
            self.journal = SqliteHistory(self.folder, lambda: self.now, lambda: self.wall.timestamp())
        # At times no message stays in memory.
        self.cache_bytes = (0, 5_000, 1_000_000)[self.seed % 5 % 3]
        self.core = self.core_class(self.journal, cache_bytes=self.cache_bytes)
        self.core.declare(self.settings, self.now)
        self.model = ModelBroker(self.settings)
        # Ordered or not, for as long as a group has members.
        self.orders = {name: self.random.random() < 0.5 for name in ("one", "two", "three")}

    def run(self) -> None:
        steps: list[tuple[Callable[[], None], int]] = [
            (self.publish, 24),
            (self.take, 24),
            (self.settle, 30),
            (self.pass_time, 12),
            (self.join, 4),
            (self.leave, 2),
            (self.replay, 5),
            (self.seek, 1),
            (self.remove, 1),
            (self.restart, 1),
        ]
        for _ in range(STEPS):
            self.random.choices([step for step, _ in steps], [weight for _, weight in steps])[0]()
            self.check()

    @property
    def wall(self) -> datetime:
        return WALL + timedelta(seconds=self.now)

    # The steps

    def publish(self) -> None:
        messages = [self.outgoing() for _ in range(self.random.choice((1, 1, 1, 3)))]
        expected = self.expected(messages)
        self.firsts += [(one, self.now) for one in messages if one.made_id is not None and not one.age]
        try:
            published, records = self.kept_by_core(messages)
        except BrokerError as refused:
            # A message that left memory, or came from a file, may have been removed since: then its id is not known.
            may_forget = self.cache_bytes < 1_000_000 or self.was_restarted
            is_untold = refused.status is Status.FAILED_PRECONDITION and may_forget
            is_full = refused.status is Status.RESOURCE_EXHAUSTED and expected is None
            if is_untold or is_full:
                return
            raise
        assert [(one.sequence, one.is_duplicate) for one in published] == expected
        self.uncommitted += records
        for message, one in zip(messages, published, strict=True):
            if not one.is_duplicate:
                self.model.publish(self.kept(message, one), message.id is not None or bool(message.age))
        fate = self.random.random()
        if fate < 0.9:
            self.core.committed(self.uncommitted, self.now)
            self.model.commit()
            self.uncommitted = []
        elif fate < 0.95:
            self.undo()

    def kept_by_core(self, messages: list[OutgoingMessage]) -> tuple[list[Published], list[Record]]:
        while True:
            try:
                return self.core.publish(messages, self.now, self.wall)
            except UnreadError as unread:
                self.journal.commit(self.uncommitted)
                found = self.journal.read(unread.topic, unread.numbers)
                self.core.repeats.feed(unread, {record.id: record.sequence for record in found})

    def undo(self) -> None:
        self.core.undo()
        self.model.undo()
        self.journal.undo(self.uncommitted)
        self.uncommitted = []

    def outgoing(self) -> OutgoingMessage:
        recent = [one for one in self.firsts[-20:] if one[1] > self.now - REPEATED_SECONDS]
        if recent and self.random.random() < 0.2:
            message, at = self.random.choice(recent)
            return replace(message, age=self.now - at + 0.001)
        id = self.random.choice((None, None, "1", "2", "3"))
        return OutgoingMessage(
            self.random.choice(self.names),
            b"x" * self.random.choice((10, 1000)),
            self.random.choice(KEYS),
            id,
            self.random.choice(self.delays),
            made_id=None if id is not None else f"r-{len(self.firsts)}-{self.random.random()}",
        )

    def expected(self, messages: list[OutgoingMessage]) -> list[tuple[int, bool]] | None:
        """Return number and duplicate of each message; None: the queue is full."""
        last, found, size = self.model.last, list[tuple[int, bool]](), self.model.size()
        fresh: dict[str, int] = {}
        for message in messages:
            number = None
            if message.id is not None:
                number = fresh.get(message.id) or self.model.find(message.id)
            elif message.age and message.made_id is not None:
                number = fresh.get(message.made_id) or self.model.numbers.get(message.made_id)
            if number is None:
                last += 1
                size += check_outgoing(message) + RECORD_BYTES
                fresh[message.id or message.made_id or ""] = last
            found.append((number or last, number is not None))
        return None if self.model.is_queue and size > self.settings.max_bytes else found

    def kept(self, message: OutgoingMessage, published: Published) -> Message:
        size = check_outgoing(message) + RECORD_BYTES
        due = self.now + message.delay
        return Message(published.sequence, message.topic, message.key, published.id, self.now, due, size)

    def join(self) -> None:
        if len(self.joined) > 6:
            return
        name = self.random.choice(
            ("one", "two", None) if self.model.is_queue else ("one", "two", "three", None)
        )
        pattern = self.settings.name
        if "*" in pattern and (name == "three" or (name is None and self.random.random() < 0.5)):
            pattern = "t.x"
        model = None if name is None else next((one for one in self.model.groups if one.name == name), None)
        if name is not None and (model is None or not model.members):
            self.orders[name] = self.random.random() < 0.5
        is_ordered = self.random.random() < 0.5 if name is None else self.orders[name]
        start = self.random.choice(("oldest", "new", self.model.last // 2, self.wall - timedelta(seconds=7)))
        group, member = self.core.join(GroupSettings(name, pattern, start, is_ordered), self.now, self.wall)
        if model is None:
            after = self.visible() if name is None else self.after(start)
            model = self.model.begin(name, pattern, is_ordered, after)
        model.is_ordered = is_ordered
        model.members.append(member)
        self.joined.append(Joined(group, member, model))

    def visible(self) -> int:
        return self.model.last - len(self.model.uncommitted)

    def after(self, place: object) -> int:
        if place == "new":
            return self.visible()
        if isinstance(place, datetime):
            since = self.now - (self.wall - place).total_seconds()
            return min(
                (one.sequence - 1 for one in self.model.messages if one.kept_at >= since),
                default=self.visible(),
            )
        return max(0, place - 1) if isinstance(place, int) else 0

    def take(self) -> None:
        if self.joined:
            joined, most = self.random.choice(self.joined), self.random.choice((1, 2, 5))
            found = self.core.take(joined.group, joined.member, most, self.now)
            while len(found) < most and self.read():
                found += self.core.take(joined.group, joined.member, most - len(found), self.now)
            expected = self.model.take(joined.model, joined.member, most)
            assert [(one.sequence, one.topic, one.key, one.id, one.delivery) for one in found] == [
                (one.message.sequence, one.message.name, one.message.key, one.message.id, one.deliveries)
                for one in expected
            ]
            self.tokens += [(joined, one, held) for one, held in zip(found, expected, strict=True)]
            if len(found) < most:
                self.idle.add(joined.group)

    def take_some(self) -> None:
        """Take messages while other due messages may be untouched."""
        if self.joined:
            joined = self.random.choice(self.joined)
            for one in self.core.take(joined.group, joined.member, 5, self.now):
                may_start = joined.model.startable(self.now, self.settings.max_bytes)
                held = next((held for held in may_start if held.message.sequence == one.sequence), None)
                assert held is not None
                self.model.start(held, joined.member)
                self.tokens.append((joined, one, held))

    def read(self) -> bool:
        """Read messages that are not in memory; return whether there were any."""
        wanted = self.core.wanted()
        if wanted:
            self.journal.commit(self.uncommitted)
        for topic, numbers in wanted:
            self.core.feed(topic, self.journal.read(topic, numbers), (), self.now)
        return bool(wanted)

    def settle(self) -> None:
        if not self.tokens:
            return
        place = self.random.randrange(len(self.tokens))
        joined, delivery, held = self.tokens[place]
        if self.random.random() < 0.95:
            # Some are settled twice.
            del self.tokens[place]
        group, entry = joined.group, delivery.token
        is_current = held.member is joined.member and self.model.is_current(joined.model, held)
        assert isinstance(entry, Entry)
        assert group.is_lost(entry) is (held.member is not None and not is_current)
        verb = self.random.choice(("ack", "ack", "ack", "nack", "nack", "reject", "reject", "hand_back"))
        if verb == "ack":
            done = group.settle(entry, self.now)
        elif verb == "nack":
            pause = self.random.choice((0.0, 3.0, 30.0))
            done = group.retry(entry, pause, self.now)
        elif verb == "reject":
            done = group.reject(entry, "no", "", self.now, self.wall)
        else:
            done = group.hand_back(entry, self.now)
        assert done is is_current
        if is_current:
            held.member = None
            if verb == "nack":
                self.model.again(joined.model, held, held.deliveries, self.now + pause)
            elif verb == "hand_back":
                self.model.again(joined.model, held, held.deliveries - 1, self.now)
            else:
                self.model.settle(joined.model, held)
            if verb == "reject" and joined.model.name is not None:
                joined.model.dead.append((held, "no"))

    def pass_time(self) -> None:
        self.now += self.random.choice((0.5, 1.0, 2.0, 20.0))
        # One look at the messages that are due may not be enough for all; some are taken and settled before the next.
        self.core.advance(self.now)
        self.model.advance(self.now)
        for _ in range(self.random.choice((0, 1, 4))):
            self.take_some()
            self.settle()
        self.advance()

    def advance(self) -> None:
        while (due := self.core.next_due()) is not None and due <= self.now:
            self.core.advance(self.now)

    def leave(self) -> None:
        if self.joined:
            joined = self.joined.pop(self.random.randrange(len(self.joined)))
            self.core.leave(joined.group, joined.member, self.now)
            self.model.leave(joined.model, joined.member)

    def named(self) -> ModelGroup | None:
        groups = [group for group in self.model.groups if group.name is not None]
        return self.random.choice(groups) if groups else None

    def replay(self) -> None:
        model = self.named()
        if model is not None:
            ids = [held.message.id for held, _ in model.dead if self.random.random() < 0.5]
            group = self.core.group(model.name or "")
            if self.random.random() < 0.8:
                assert group.replay(ids, self.now) == self.model.replay(model, ids)
            else:
                gone = [one for one in model.dead if not ids or one[0].message.id in ids]
                model.dead = [one for one in model.dead if one not in gone]
                assert group.discard(ids) == len(gone)

    def seek(self) -> None:
        model = self.named()
        if model is not None:
            places = ("oldest", "new", self.model.last + 3, self.wall - timedelta(seconds=7))
            place = self.random.choice(places)
            self.core.seek(model.name or "", place, self.now, self.wall)
            self.model.go_on(model, self.after(place))

    def remove(self) -> None:
        model = self.named()
        if model is not None and not self.model.is_queue:
            self.core.remove_group(model.name or "", self.now)
            self.model.groups.remove(model)
            model.held.clear()
            for joined in [one for one in self.joined if one.model is model]:
                with pytest.raises(BrokerError):
                    self.core.take(joined.group, joined.member, 1, self.now)
                self.core.leave(joined.group, joined.member, self.now)
                self.joined.remove(joined)

    def restart(self) -> None:
        """End without notice to the members, and begin with the content of the journal."""
        self.undo()
        self.was_restarted = True
        self.core.note_progress()
        for joined in self.joined:
            self.model.leave(joined.model, joined.member)
        self.joined, self.tokens, self.idle = [], [], set()
        for group in self.model.groups:
            group.empty_since, group.expired, group.is_ordered = self.now, 0, False
            # A message that was dropped while it was under way is gone with its delivery.
        self.core = self.core_class(self.journal, cache_bytes=self.cache_bytes)
        self.core.restore(*self.journal.saved(), self.now)
        self.model.trim()

    # After each step

    def check(self) -> None:
        # A message may be too old by its commit.
        self.advance()
        self.idle.difference_update(self.core.roused())
        for joined in self.joined:
            if joined.group in self.idle:
                assert not joined.model.startable(self.now, self.settings.max_bytes)
        assert self.core.topics[self.settings.name].log.size == self.model.size()
        found = [
            (one.name, one.pattern, one.is_ordered, one.members, one.lag, one.oldest_seconds, one.under_way)
            for one in self.core.groups(self.now)
        ]
        assert found == sorted(self.state(group) for group in self.model.groups if group.name is not None)
        for one in self.core.groups(self.now):
            model = next(group for group in self.model.groups if group.name == one.name)
            assert (one.dead, one.expired) == (len(model.dead), model.expired)
            letters = [(letter.id, letter.deliveries) for letter in self.core.dead_letters(one.name)]
            assert letters == [(held.message.id, held.deliveries) for held, _ in model.dead]

    def state(self, group: ModelGroup) -> tuple[object, ...]:
        oldest = group.oldest(self.model.messages)
        return (
            group.name,
            group.pattern,
            group.is_ordered,
            len(group.members),
            len(group.held),
            0.0 if oldest is None else self.now - oldest,
            sum(held.member is not None for held in group.held.values()),
        )


def test_broker_does_as_the_model(scale: Scale) -> None:
    for seed in scale.seeds(200):
        Run(seed, BrokerCore).run()


def test_many_delayed_messages_come_as_in_the_model(scale: Scale, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delayed, "WOKEN_AT_ONCE", 1)
    # The heap is made tidy with each delay.
    monkeypatch.setattr(delayed, "_SPARE", -1_000)
    for seed in scale.seeds(60):
        Run(seed, BrokerCore, delays=(0.0, 5.0, 30.0, 30.0)).run()


def test_broker_in_a_folder_does_as_the_model(scale: Scale, tmp_path: Path) -> None:
    for seed in scale.seeds(15):
        run = Run(seed, BrokerCore, tmp_path / str(seed))
        run.run()
        assert isinstance(run.journal, SqliteHistory)
        run.journal.close()


def first_seed_that_fails(core_class: type[BrokerCore] = BrokerCore) -> int | None:
    for seed in range(20):
        try:
            Run(seed, core_class).run()
        except AssertionError:
            return seed
    return None


@pytest.mark.parametrize(
    ("rule", "always"), [("may_start", True), ("start", None)], ids=["whatever its line", "beside a replay"]
)
def test_a_second_message_of_a_key_is_found(
    monkeypatch: pytest.MonkeyPatch, rule: str, always: bool | None
) -> None:
    monkeypatch.setattr(KeyLines, rule, lambda *_: always)
    assert first_seed_that_fails() is not None


def test_an_ack_before_the_return_is_found() -> None:
    class AcksAtOnce(BrokerCore):
        def take(self, group: MessageGroup, member: GroupMember, most: int, now: float) -> list[Delivery]:
            taken = super().take(group, member, most, now)
            for delivery in taken:
                group.settle(delivery.token, now)
            return taken

    assert first_seed_that_fails(AcksAtOnce) is not None


def test_a_retry_that_is_not_counted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    again = MessageGroup._again

    def uncounted(self: MessageGroup, entry: Entry, deliveries: int, due: float, now: float) -> None:
        again(self, entry, deliveries - (due > now), due, now)

    monkeypatch.setattr(MessageGroup, "_again", uncounted)
    assert first_seed_that_fails() is not None


def test_an_early_delivery_of_a_delayed_message_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    may_start = MessageGroup._may_start

    def early(self: MessageGroup, entry: Entry, now: float) -> bool:
        return may_start(self, entry, now + 1.0)

    monkeypatch.setattr(MessageGroup, "_may_start", early)
    assert first_seed_that_fails() is not None


def test_a_repeat_that_is_kept_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Repeats, "find", lambda *_: None)
    assert first_seed_that_fails() is not None
