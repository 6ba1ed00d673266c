"""Encode and decode messages as NATS messages: a body and headers.

Headers of a publisher keep their names. fastrpc adds `frpc-id`, `frpc-key` and `frpc-publisher`. `frpc-rest` has, as
JSON, everything that a NATS header cannot carry, such as leading blanks and line ends. A dead letter has `frpc-dead`,
and a replayed message `frpc-again`; each describes the original message as JSON.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
from nats.aio.msg import Msg

from fastrpc.brokers.base import DeadLetter, Delivery, OutgoingMessage
from fastrpc.brokers.base.checks import TEXT_BYTES
from fastrpc.brokers.nats.names import SubjectNames
from fastrpc.errors import DecodeError

__all__ = [
    "MESSAGE_ID",
    "SCHEDULER",
    "DeliveryNumbers",
    "at_nanoseconds",
    "dead_headers",
    "delivery_in",
    "headers_of",
    "id_of",
    "letter_in",
    "replay_headers",
    "unread_delivery_in",
]

T = TypeVar("T")

#: The header by which JetStream finds duplicates.
MESSAGE_ID: Final = "Nats-Msg-Id"

#: The header of a message that was delayed. It has the subject of the message's schedule.
SCHEDULER: Final = "Nats-Scheduler"

_ID: Final = "frpc-id"
_KEY: Final = "frpc-key"
_PUBLISHER: Final = "frpc-publisher"
_REST: Final = "frpc-rest"
_DEAD: Final = "frpc-dead"
_AGAIN: Final = "frpc-again"

#: _OWN: prefixes of reserved headers: the headers above, and JetStream's. _KNOWN: the headers of a plain message.
_OWN: Final = ("frpc-", "Nats-")
_KNOWN: Final = frozenset({MESSAGE_ID, _ID, _KEY, _PUBLISHER})

#: The most characters of the reason of a dead letter (_REASON_CHARACTERS), and of the text of its error
#: (_ERROR_CHARACTERS).
_REASON_CHARACTERS: Final = 512
_ERROR_CHARACTERS: Final = 1024

#: The number of words that describe the delivery in the subject of an acknowledgement, if the server has a domain.
_WORDS_WITH_DOMAIN: Final = 11

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def headers_of(message: OutgoingMessage, *, id: str | None = None) -> dict[str, str]:
    """Return the headers of a message.

    Args:
        id: the id of a delayed message, for a header of fastrpc: JetStream removes its own headers, such as
            `Nats-Msg-Id`, when the delay is over.
    """
    found = dict(message.headers)
    if (given := message.id) is not None:
        # Only quoted ids start with "%", so a quoted id is never equal to a plain id.
        found[MESSAGE_ID] = given if _is_plain(given) and given[0] != "%" else f"%{quote(given, safe='')}"
        if found[MESSAGE_ID] != given:
            id = given
    if id is not None:
        found[_ID] = id
    if message.key is not None:
        found[_KEY] = message.key
    if message.publisher is not None:
        found[_PUBLISHER] = message.publisher
    for name, text in found.items():
        if not _is_plain(text) or (name.startswith(_OWN) and name not in _KNOWN):
            return _wrapped(message, id, found)
    return found


def _wrapped(message: OutgoingMessage, id: str | None, found: Mapping[str, str]) -> dict[str, str]:
    id = message.id if message.id is not None else id
    rest = {"id": id, "key": message.key, "publisher": message.publisher, "headers": dict(message.headers)}
    kept = {_REST: json.dumps(rest)}
    return kept if message.id is None else {**kept, MESSAGE_ID: found[MESSAGE_ID]}


def _is_plain(text: str) -> bool:
    return text.isprintable() and text == text.strip() != ""


class _Parts(msgspec.Struct, frozen=True):
    id: str | None
    key: str | None
    publisher: str | None
    headers: dict[str, str]


class _Was(msgspec.Struct, frozen=True):
    """The original message and delivery of a dead letter or of a replayed message."""

    topic: str
    sequence: int

    #: The time of publication, in nanoseconds since 1970.
    at: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Death(_Was, frozen=True):
    deliveries: int
    reason: str
    error: str


_read_parts: Final = msgspec.json.Decoder(_Parts).decode
_read_was: Final = msgspec.json.Decoder(_Was).decode
_read_death: Final = msgspec.json.Decoder(_Death).decode


def _read(name: str, text: str, read: Callable[[str], T]) -> T:
    """Return the value of a fastrpc header, which any program may have written. DecodeError: it is malformed."""
    try:
        return read(text)
    # This includes UnicodeDecodeError.
    except ValueError as error:
        raise DecodeError(f"the header {name} does not decode: {error}") from error


def _parts(given: Mapping[str, str] | None, default_id: str) -> tuple[str, _Parts]:
    """Return the id and the parts of a message that its headers describe.

    Args:
        default_id: the id of a message that another program published without an id.

    Raises:
        DecodeError: a fastrpc header is malformed.
    """
    found = given or {}
    if (rest := found.get(_REST)) is not None:
        parts = _read(_REST, rest, _read_parts)
    else:
        id = found.get(_ID) or found.get(MESSAGE_ID)
        parts = _Parts(id, found.get(_KEY), found.get(_PUBLISHER), _plain(found))
    id = parts.id or default_id
    # A longer id is refused: it may become part of the subject of a dead letter.
    if (length := len(id.encode())) > TEXT_BYTES:
        raise DecodeError(f"the id has {length} bytes, the limit is {TEXT_BYTES}")
    return id, parts


def _plain(found: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in found.items() if not name.startswith(_OWN)}


class DeliveryNumbers(NamedTuple):
    """The numbers of a delivery, which the subject of its acknowledgement has."""

    deliveries: int
    sequence: int

    #: The number of the delivery in its consumer.
    number: int

    #: The time at which the message was kept, in nanoseconds since 1970.
    nanoseconds: int

    @classmethod
    def of(cls, message: Msg) -> "DeliveryNumbers":
        """Return the numbers of a message of a consumer."""
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<number>.<nanoseconds>.<pending>. A server with a domain
        # adds two words before the stream and one at the end.
        words = message.reply.split(".")[:_WORDS_WITH_DOMAIN]
        return cls(int(words[-5]), int(words[-4]), int(words[-3]), int(words[-2]))


def id_of(run: str, sequence: int) -> str:
    """Return the id of a message whose publisher gave no id.

    Args:
        run: identifies the stream; a later stream of the same name has another `run`.
    """
    return f"{run}-{sequence:x}"


def delivery_in(message: Msg, reply: DeliveryNumbers, names: SubjectNames, run: str, token: Any) -> Delivery:
    """Return the delivery in a message of a consumer. `run` is the argument of `id_of`.

    Raises:
        DecodeError: a fastrpc header is malformed.
    """
    id, parts = _parts(message.headers, id_of(run, reply.sequence))
    topic, number, at = names.name_in(message.subject), reply.sequence, reply.nanoseconds
    if message.headers is not None and (again := message.headers.get(_AGAIN)) is not None:
        was = _read(_AGAIN, again, _read_was)
        topic, number, at = was.topic, was.sequence, was.at
    return Delivery(
        topic=topic,
        body=message.data,
        key=parts.key,
        id=id,
        sequence=number,
        headers=parts.headers,
        publisher=parts.publisher,
        published_at=at_nanoseconds(at),
        delivery=reply.deliveries,
        token=token,
    )


def unread_delivery_in(
    message: Msg, reply: DeliveryNumbers, names: SubjectNames, run: str, token: Any
) -> Delivery:
    """Return the delivery in a message without the fastrpc headers, because one of them is malformed."""
    plain = replace(message, headers=_plain(message.headers or {}))
    return delivery_in(plain, reply, names, run, token)


def dead_headers(message: Msg, delivery: Delivery, reason: str, error: str) -> dict[str, str]:
    """Return the headers of a dead letter."""
    told = {
        **_was(delivery),
        "deliveries": delivery.delivery,
        "reason": _utf8(reason[:_REASON_CHARACTERS]),
        "error": _utf8(error[:_ERROR_CHARACTERS]),
    }
    return {**_kept(message.headers, delivery.id), _DEAD: json.dumps(told)}


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _was(delivery: Delivery | DeadLetter) -> dict[str, Any]:
    at = (delivery.published_at - _EPOCH) // timedelta(microseconds=1) * 1000
    return {"topic": delivery.topic, "sequence": delivery.sequence, "at": at}


def _kept(given: Mapping[str, str] | None, id: str) -> dict[str, str]:
    """Return headers for a copy of a message, without JetStream's headers and without malformed headers."""
    own = ("Nats-", _AGAIN, _DEAD)
    found = {name: text for name, text in (given or {}).items() if not name.startswith(own)}
    try:
        if _REST in found and _parts(found, id):
            return found
    except DecodeError:
        del found[_REST]
    found[_ID] = id
    return found


def letter_in(message: Msg, died_at: datetime) -> DeadLetter:
    """Return the dead letter in a message of a stream of dead letters. DecodeError: another program wrote it."""
    id, parts = _parts(message.headers, "")
    death = _read(_DEAD, (message.headers or {}).get(_DEAD, ""), _read_death)
    return DeadLetter(
        topic=death.topic,
        body=message.data,
        key=parts.key,
        id=id,
        sequence=death.sequence,
        headers=parts.headers,
        publisher=parts.publisher,
        published_at=at_nanoseconds(death.at),
        deliveries=death.deliveries,
        reason=death.reason,
        error=death.error,
        died_at=died_at,
    )


def replay_headers(message: Msg, letter: DeadLetter, id: str) -> dict[str, str]:
    """Return the headers of a dead letter that is replayed to its group.

    Args:
        id: the message id by which JetStream drops a replay that is sent twice.
    """
    return {**_kept(message.headers, letter.id), _AGAIN: json.dumps(_was(letter)), MESSAGE_ID: id}


def at_nanoseconds(nanoseconds: int) -> datetime:
    """Convert nanoseconds since 1970 to a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
