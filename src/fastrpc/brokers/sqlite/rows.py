"""Encode and decode the content of rows: messages and dead letters as bytes, with a checksum."""

import zlib
from array import array
from collections.abc import Iterator, Mapping
from datetime import datetime
from math import inf
from types import MappingProxyType
from typing import Any, Final

import msgspec

from fastrpc.brokers.base.texts import copied_headers
from fastrpc.brokers.local.records import Death, KeptPlace, Record

__all__ = ["KeptPlaces", "death_of", "head_of", "id_of", "letter_of", "record_of", "sum_of"]

#: The largest body that is copied for its checksum.
_COPIED_BYTES: Final = 4096

_NO_ENTRIES: Final[dict[str, str]] = {}
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class _Head(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A message without its body."""

    sequence: int
    topic: str
    key: str | None
    id: str
    headers: dict[str, str]
    publisher: str | None
    published_at: datetime

    #: Seconds before its first delivery.
    delay: float
    size: int


class _HeadToId(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The first fields of a `_Head`, up to the id."""

    sequence: int
    topic: str
    key: str | None
    id: str


class _Letter(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A dead letter without the body of its message."""

    head: _Head

    #: The instant at which the message was kept, in seconds of the wall clock.
    kept: float
    deliveries: int
    reason: str
    error: str
    died_at: datetime


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_head: Final = msgspec.msgpack.Decoder(_Head).decode
_decode_to_id: Final = msgspec.msgpack.Decoder(_HeadToId).decode
_decode_letter: Final = msgspec.msgpack.Decoder(_Letter).decode


def sum_of(head: bytes, body: bytes) -> int:
    """Return the CRC-32 of a row."""
    # Copying a small body is faster than another call of `crc32`.
    return zlib.crc32(head + body) if len(body) <= _COPIED_BYTES else zlib.crc32(body, zlib.crc32(head))


def head_of(record: Record) -> bytes:
    """Encode a message without its body."""
    return _encode(
        (
            record.sequence,
            record.topic,
            record.key,
            record.id,
            copied_headers(record.headers) if record.headers else _NO_ENTRIES,
            record.publisher,
            record.published_at,
            record.due - record.kept_at,
            record.size,
        )
    )


def record_of(head: bytes, body: bytes) -> Record:
    """Return the message of a row; its times are relative to the instant at which it was kept."""
    return _as_record(_decode_head(head), body)


def id_of(head: Any) -> str | None:
    """Return the id of the message of a row, or None if the row is damaged."""
    try:
        return _decode_to_id(head).id
    except (TypeError, msgspec.DecodeError):
        return None


def letter_of(death: Death, kept: float) -> bytes:
    """Encode a dead letter without the body of its message."""
    head = msgspec.Raw(head_of(death.record))
    return _encode((head, kept, death.deliveries, death.reason, death.error, death.died_at))


def death_of(head: bytes, body: bytes) -> tuple[Death, float]:
    """Return the dead letter of a row, and the time of day at which its message was kept, in seconds."""
    letter = _decode_letter(head)
    record = _as_record(letter.head, body)
    return Death(record, letter.deliveries, letter.reason, letter.error, letter.died_at), letter.kept


def _as_record(head: _Head, body: bytes) -> Record:
    return Record(
        head.sequence,
        head.topic,
        body,
        head.key,
        head.id,
        MappingProxyType(head.headers) if head.headers else _NO_HEADERS,
        head.publisher,
        head.published_at,
        0.0,
        head.delay,
        head.size,
    )


class KeptPlaces:
    """The places of a topic's messages as columns. A million places occupy some megabytes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers, self._sizes, self._instants = array("q"), array("I"), array("d")
        self._names: list[str | None] = []

    def add(self, sequence: int, size: int, kept_at: float, name: str | None) -> None:
        """Add the next row. If `name` is None, the message has the name of the topic."""
        self._numbers.append(sequence)
        self._sizes.append(size)
        self._instants.append(kept_at)
        self._names.append(name)

    def mend(self, now: float) -> None:
        """Make the instants rise with the numbers, up to now, since they may come from a wrong clock.

        An instant in the future is replaced by the instant of the next row. An instant that is earlier than the
        instant of the previous row is replaced by that instant.
        """
        instants, following = self._instants, now
        for place in range(len(instants) - 1, -1, -1):
            if instants[place] > now:
                instants[place] = following
            following = instants[place]
        latest = -inf
        for place, instant in enumerate(instants):
            latest = instants[place] = max(latest, instant)

    def __iter__(self) -> Iterator[KeptPlace]:
        rows = zip(self._numbers, self._sizes, self._instants, self._names, strict=True)
        return (KeptPlace(number, size, kept_at, name or self._name) for number, size, kept_at, name in rows)
