"""Find the message of an earlier attempt when a publication is repeated under an id that has no index.

Ids that the client made are not indexed, so a first attempt costs nothing here. A repeat is looked up in:

- the index of publishers' ids, which has a repeated message from its first repeat on;
- `RemovedIds`: messages that the topic no longer keeps;
- the messages that the topic has kept since the first attempt, in memory or in the journal, see `UnreadError`.

`KeptTopic.removed_until` is the instant since which removed messages are known. A repeat of an earlier first attempt is
refused.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from fastrpc.brokers.local.effects import Effects
from fastrpc.brokers.local.log import Log
from fastrpc.errors import BrokerError
from fastrpc.status import Status

__all__ = ["KnownIds", "RecentTopic", "Repeats", "UnreadError"]

#: Seconds that a request may take to arrive: the first attempt may be older by this than its publisher states.
_ON_THE_WAY: Final = 5.0

#: Messages from before the broker's start that are always searched, whatever their age: the wall clock may have
#: jumped since.
_FEWEST_MESSAGES: Final = 10_000

#: Most messages that are searched, which occupies a thread for a second; also most ids that are cached, some 40 MB.
_MOST_MESSAGES: Final = 200_000

#: Seconds for which the ids of a topic are cached after its latest repeat.
_REMEMBERED_SECONDS: Final = 30.0


class RecentTopic(Protocol):
    """The part of a topic that `Repeats` uses."""

    @property
    def log(self) -> Log: ...

    @property
    def name(self) -> str: ...

    #: `restored`: the number of the latest message from before the broker's start. `restored_at`: when it started.
    restored: int
    restored_at: float

    #: The ids of all removed messages that were published after this instant are known.
    removed_until: float


class KnownIds(msgspec.Struct):
    """A cache of the ids of a topic's messages in a range of numbers."""

    first: int
    last: int
    used_at: float

    #: `unread`: the numbers of messages whose ids have to be read, then the first and the last number that are known
    #: afterwards.
    unread: tuple[Sequence[int], int, int] | None = None
    numbers: dict[str, int] = msgspec.field(default_factory=dict)


class UnreadError(Exception):
    """Raised if ids must be read from the journal before a repeat can be recognized. Pass the ids to `Repeats.feed`.

    Attributes:
        numbers: the numbers of messages to read, in order.
    """

    def __init__(self, topic: str, known: KnownIds) -> None:
        super().__init__(topic)
        assert known.unread is not None
        self.topic, self.known, self.numbers = topic, known, known.unread[0]


class Repeats:
    """Finds the messages that earlier attempts of repeated publications kept."""

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self._known: dict[str, KnownIds] = {}

    def find(self, topic: RecentTopic, id: str, age: float, now: float) -> int | None:
        """Return the number of the message that an earlier attempt kept; None: no attempt kept a message.

        Args:
            age: seconds since the first attempt.

        Raises:
            UnreadError: some ids have to be read first.
            BrokerError: FAILED_PRECONDITION: the broker cannot know whether a message was kept.
        """
        number = self._effects.removed.find(id)
        if number is None:
            since = now - age - _ON_THE_WAY
            number = self._among_kept(topic, since, now).get(id)
            if number is None and since <= topic.removed_until:
                raise _untold(topic.name, "its message may have been handled and removed")
        return number

    def feed(self, unread: UnreadError, ids: Mapping[str, int]) -> None:
        """Continue with ids that were read."""
        known = unread.known
        if known.unread is not None:
            known.numbers.update(ids)
            _, known.first, known.last = known.unread
            known.unread = None

    def forget(self) -> None:
        """Clear the cache, since some messages were undone."""
        self._known.clear()

    def wake(self, now: float) -> None:
        """Forget the ids of topics without recent repeats."""
        self._known = {
            topic: known for topic, known in self._known.items() if known.used_at + _REMEMBERED_SECONDS > now
        }
        if self._known:
            self._effects.alarms.set(self, now + _REMEMBERED_SECONDS)

    def _among_kept(self, topic: RecentTopic, since: float, now: float) -> Mapping[str, int]:
        """Return the numbers of all messages kept since an instant, by id."""
        log, last = topic.log, topic.log.last
        first = log.first_since(since)
        if since < topic.restored_at:
            first = min(first, log.before(topic.restored, _FEWEST_MESSAGES))
        known = self._known.get(topic.name)
        if known is not None and known.unread is not None:
            raise UnreadError(topic.name, known)
        missing = most = log.most_between(first, last)
        if known is not None:
            missing = log.most_between(first, known.first - 1) + log.most_between(known.last + 1, last)
        if known is None or missing > most or len(known.numbers) + missing > 2 * _MOST_MESSAGES:
            # Drop the known ids if reading all messages is cheaper than filling the gap up to the known range.
            known, missing = KnownIds(first, first - 1, now), most
        if missing > _MOST_MESSAGES:
            raise _untold(topic.name, f"some {missing} messages came since")
        self._make_room(topic.name, missing)
        self._known[topic.name], known.used_at = known, now
        self._effects.alarms.set(self, now + _REMEMBERED_SECONDS)
        numbers = [*log.between(first, known.first - 1), *log.between(known.last + 1, last)]
        unread: list[int] = []
        for number in numbers:
            record = log.record(number)
            if record is None:
                unread.append(number)
            else:
                known.numbers[record.id] = number
        first = min(first, known.first)
        if unread:
            known.unread = unread, first, last
            raise UnreadError(topic.name, known)
        known.first, known.last = first, last
        return known.numbers

    def _make_room(self, topic: str, missing: int) -> None:
        """Forget the ids of other topics if the cache would be too large, except topics that are being read."""
        others = {name: known for name, known in self._known.items() if name != topic}
        if sum(len(known.numbers) for known in others.values()) + missing > _MOST_MESSAGES:
            for name, known in others.items():
                if known.unread is None:
                    del self._known[name]


def _untold(topic: str, reason: str) -> BrokerError:
    return BrokerError(
        f"whether a message for {topic} was kept before cannot be told: {reason}",
        status=Status.FAILED_PRECONDITION,
        processed="no",
        hint="give messages ids, which the broker keeps with them",
    )
