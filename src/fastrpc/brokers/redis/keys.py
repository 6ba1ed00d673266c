"""Names of keys, and conversion between entry ids and sequence numbers.

::

    <base>:topics                  hash: topic → its settings
    <base>:groups                  hash: group → its topic
    <base>:bell:<process>          channel: wakes the takes of one process
    <base>:{<topic>}               hash: settings, dedupe and keep in milliseconds
    <base>:{<topic>}:log           stream: the messages
    <base>:{<topic>}:waiting       set: `group:<group>` and `channel:<channel>` (broadcasts) with waiting takes
    <base>:{<topic>}:waiting:<g>   hash: member with a waiting take → channel of its process
    <base>:{<topic>}:names         set: its groups
    <base>:{<topic>}:id:<id>       the entry of a message with this id
    <base>:{<topic>}:group:<g>     hash: epoch, expired, empty (since when it has no member)
    <base>:{<topic>}:members:<g>   sorted set: member → end of its lease
    <base>:{<topic>}:leases:<g>    sorted set: entry of the log → instant from which another member may get it
    <base>:{<topic>}:replays:<g>   stream: dead letters that are replayed to the group
    <base>:{<topic>}:again:<g>     sorted set: like `leases`, for entries of `replays`
    <base>:{<topic>}:dead:<g>      stream: dead letters
    <base>:{<topic>}:removed:<g>   exists for a day after the removal of a group

Instants are milliseconds of the server's clock. The keys of a topic share a hash tag. Scripts that create or forget a
group also use the hash of all groups, which has another slot, so one server must hold all keys.

A sequence number is the entry id `<milliseconds>-<number>` as one integer: 2²⁰ times the milliseconds, plus the number.
"""

from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Final

from fastrpc.brokers.base import Place

__all__ = ["entry_before", "milliseconds", "published_at", "sequence_of", "topic_key"]

#: Bits of an entry's number within its millisecond. The script `PUBLISH` keeps the number below this limit.
NUMBER_BITS: Final = 20

_NUMBERS: Final = 1 << NUMBER_BITS

#: The greatest number within a millisecond that Redis allows.
_LAST_NUMBER: Final = (1 << 64) - 1

#: The greatest sequence number: databases and other protocols use signed 64-bit integers.
_LAST_SEQUENCE: Final = (1 << 63) - 1

#: Most bytes of an entry id: two 64-bit numbers and "-".
_ID_BYTES: Final = 41

#: The last whole second of the year 9999, in milliseconds.
_LAST_INSTANT: Final = 253_402_300_799_000

#: A century in milliseconds: the longest duration that is sent to a server, which may overflow with longer ones.
_LONGEST: Final = 3_155_760_000_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def topic_key(base: str, topic: str) -> str:
    """Return the prefix of all keys of a topic, which is also the key of its hash."""
    # A brace would end the hash tag.
    return f"{base}:{{{topic.replace('%', '%25').replace('}', '%7D')}}}"


def sequence_of(entry: bytes) -> int:
    """Return the sequence number of an entry id, at most 2**63 - 1: another program may have written a greater id."""
    instant, number = _parts_of(entry)
    return min((instant << NUMBER_BITS) + number, _LAST_SEQUENCE)


def published_at(entry: bytes) -> datetime:
    """Return the time of day of an entry id, at most the end of the year 9999: another program may have written it."""
    return datetime.fromtimestamp(min(_parts_of(entry)[0], _LAST_INSTANT) / 1000, UTC)


def _parts_of(entry: bytes) -> tuple[int, int]:
    """Return the instant and the number of an entry id; 0 and 0 for a malformed id, which a field may have."""
    instant, _, number = entry.partition(b"-")
    is_id = len(entry) <= _ID_BYTES and instant.isdigit() and number.isdigit()
    return (int(instant), int(number)) if is_id else (0, 0)


def entry_before(place: Place) -> str:
    """Return the entry id that precedes a place in a stream; `$` means the last entry."""
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
