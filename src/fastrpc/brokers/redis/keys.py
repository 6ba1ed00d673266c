"""Names of keys, and places in a stream as sequence numbers.

::

    <base>:topics                  hash: topic → its settings
    <base>:groups                  hash: group → its topic
    <base>:bell:<process>          channel: wakes the takes of one process
    <base>:{<topic>}               hash: settings, dedupe and keep in milliseconds
    <base>:{<topic>}:log           stream: the messages
    <base>:{<topic>}:waiting       set: `group:<group>` with takes that wait, `channel:<channel>` of broadcasts that do
    <base>:{<topic>}:waiting:<g>   hash: member with a take that waits → channel of its process
    <base>:{<topic>}:names         set: its groups
    <base>:{<topic>}:id:<id>       the entry of a message with this id
    <base>:{<topic>}:group:<g>     hash: epoch, expired, empty (since when it has no member)
    <base>:{<topic>}:members:<g>   sorted set: member → end of its lease
    <base>:{<topic>}:leases:<g>    sorted set: entry of the log → instant from which another member may start it
    <base>:{<topic>}:replays:<g>   stream: dead letters on their way to the group again
    <base>:{<topic>}:again:<g>     sorted set: `leases` of the replays
    <base>:{<topic>}:dead:<g>      stream: dead letters
    <base>:{<topic>}:removed:<g>   is there for a day after the removal of a group

Instants are milliseconds of the server's clock. The keys of a topic share a hash tag. Scripts that begin or forget a
group also use the hash of all groups, in another slot: one server holds all keys.

A sequence is the entry id `<milliseconds>-<number>` in one integer: 2²⁰ times the milliseconds, plus the number.
"""

from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Final

from fastrpc.brokers.base import Place

__all__ = ["entry_before", "milliseconds", "published_at", "sequence_of", "topic_key"]

#: Bits of the number of an entry within its millisecond; the script that publishes keeps to them.
NUMBER_BITS: Final = 20

_NUMBERS: Final = 1 << NUMBER_BITS

#: The greatest number of an entry within a millisecond, for Redis.
_LAST_NUMBER: Final = (1 << 64) - 1

#: The greatest sequence: databases and other protocols have 64 bits with a sign.
_LAST_SEQUENCE: Final = (1 << 63) - 1

#: Most bytes of an entry id: two numbers of 64 bits.
_ID_BYTES: Final = 41

#: The last whole second of the year 9999, in milliseconds.
_LAST_INSTANT: Final = 253_402_300_799_000

#: Milliseconds of a century, the longest time that is sent to a server: longer times may exceed its numbers.
_LONGEST: Final = 3_155_760_000_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def topic_key(base: str, topic: str) -> str:
    """Return the first part of all keys of a topic."""
    # A brace would end the hash tag.
    return f"{base}:{{{topic.replace('%', '%25').replace('}', '%7D')}}}"


def sequence_of(entry: bytes) -> int:
    """Return the sequence of an entry id; another program may have written a sequence beyond 63 bits."""
    instant, number = _parts_of(entry)
    return min((instant << NUMBER_BITS) + number, _LAST_SEQUENCE)


def published_at(entry: bytes) -> datetime:
    """Return the time of day at which the server kept an entry; the last possible time for a foreign id beyond it."""
    return datetime.fromtimestamp(min(_parts_of(entry)[0], _LAST_INSTANT) / 1000, UTC)


def _parts_of(entry: bytes) -> tuple[int, int]:
    """Return instant and number of an entry id; 0 and 0 for a malformed word, which an entry's field may hold."""
    instant, _, number = entry.partition(b"-")
    is_id = len(entry) <= _ID_BYTES and instant.isdigit() and number.isdigit()
    return (int(instant), int(number)) if is_id else (0, 0)


def entry_before(place: Place) -> str:
    """Return the entry id after which a group begins that starts at a place; `$` is the last entry."""
    if place == "oldest":
        return "0"
    if place == "new":
        return "$"
    if isinstance(place, datetime):
        microseconds = (place - _EPOCH) // timedelta(microseconds=1)
        instant, number = max(-(-microseconds // 1000), 0), 0
    else:
        instant, number = divmod(int(place), _NUMBERS)
    if number:
        return f"{instant}-{number - 1}"
    return f"{instant - 1}-{_LAST_NUMBER}" if instant else "0"


def milliseconds(seconds: float) -> int:
    """Return a time in milliseconds, at least 1 and at most a century."""
    return max(ceil(min(seconds * 1000, _LONGEST)), 1)
