"""Encode and decode messages as entries of streams: fields and values are bytes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from fastrpc.brokers.base import DeadLetter, Delivery, OutgoingMessage
from fastrpc.brokers.redis.keys import published_at, sequence_of

__all__ = ["Fields", "delivery_of", "fields_of", "letter_fields_of", "letter_of", "words_of"]

#: The fields of an entry by name.
Fields = dict[bytes, bytes]

#: The number of leading words of a dead letter that describe its death; the words of its message follow.
_DEATH_WORDS: Final = 8

#: Most digits of a 64-bit number.
_NUMBER_BYTES: Final = 20

_encode_headers: Final = msgspec.json.Encoder().encode
_decode_headers: Final = msgspec.json.Decoder(dict[str, str]).decode


def words_of(message: OutgoingMessage, id: str) -> list[str | bytes]:
    """Return the fields of a message as names and values in turn."""
    words: list[str | bytes] = ["body", message.body, "id", id]
    if message.key is not None:
        words += ("key", message.key)
    if message.headers:
        words += ("headers", _encode_headers(message.headers))
    if message.publisher is not None:
        words += ("publisher", message.publisher)
    return words


def fields_of(words: Sequence[bytes]) -> Fields:
    """Return the fields of an entry."""
    return dict(zip(words[::2], words[1::2], strict=True))


def letter_fields_of(words: Sequence[bytes]) -> Fields:
    """Return the fields of a dead letter. Fields of its death override fields of the message."""
    return fields_of(words[_DEATH_WORDS:]) | fields_of(words[:_DEATH_WORDS])


def delivery_of(topic: str, entry: bytes, fields: Fields, number: int, token: Any) -> Delivery:
    """Return a message for a member.

    Args:
        number: the number of this delivery.
    """
    return Delivery(
        topic,
        fields.get(b"body", b""),
        _text(fields.get(b"key")),
        _id_of(entry, fields),
        sequence_of(entry),
        _headers_of(fields),
        _text(fields.get(b"publisher")),
        published_at(entry),
        number,
        token,
    )


def letter_of(topic: str, death: bytes, fields: Fields) -> DeadLetter:
    """Return a dead letter; `death` is its entry id among the dead letters."""
    entry, deliveries = fields.get(b"entry", death), fields.get(b"deliveries", b"")
    return DeadLetter(
        topic=topic,
        body=fields.get(b"body", b""),
        key=_text(fields.get(b"key")),
        id=_id_of(entry, fields),
        sequence=sequence_of(entry),
        headers=_headers_of(fields),
        publisher=_text(fields.get(b"publisher")),
        published_at=published_at(entry),
        # Another program may have written an entry with any words.
        deliveries=int(deliveries) if deliveries.isdigit() and len(deliveries) <= _NUMBER_BYTES else 0,
        reason=_text(fields.get(b"reason")) or "",
        error=_text(fields.get(b"error")) or "",
        died_at=published_at(death),
    )


def _id_of(entry: bytes, fields: Fields) -> str:
    # Another program may have written an entry without an id.
    return fields.get(b"id", entry).decode("utf-8", "replace")


def _headers_of(fields: Fields) -> Mapping[str, str]:
    kept = fields.get(b"headers")
    if kept is None:
        return {}
    try:
        return _decode_headers(kept)
    except msgspec.DecodeError:
        # Another program may have written anything.
        return {}


def _text(kept: bytes | None) -> str | None:
    return None if kept is None else kept.decode("utf-8", "replace")
