"""Messages as NATS has them: a body and headers.

Headers of a publisher keep their names. The others are of fastrpc: `frpc-id`, `frpc-key`, `frpc-publisher`; `frpc-rest`
is JSON of all that a header of NATS, which has no blanks around it and no line ends, could not carry. A dead letter has
`frpc-dead`, and a message that a group gets again `frpc-again`, each JSON of the message that it was.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from nats.aio.msg import Msg

from fastrpc.brokers.base import DeadLetter, Delivery, OutgoingMessage
from fastrpc.brokers.nats.names import SubjectNames

__all__ = [
    "MESSAGE_ID",
    "DeliveryNumbers",
    "at_nanoseconds",
    "dead_headers",
    "delivery_in",
    "headers_of",
    "id_of",
    "letter_in",
    "replay_headers",
]

#: The header by which JetStream finds duplicates.
MESSAGE_ID: Final = "Nats-Msg-Id"

_ID: Final = "frpc-id"
_KEY: Final = "frpc-key"
_PUBLISHER: Final = "frpc-publisher"
_REST: Final = "frpc-rest"
_DEAD: Final = "frpc-dead"
_AGAIN: Final = "frpc-again"

#: Prefixes of headers that are not the publisher's: those above, and JetStream's.
_OWN: Final = ("frpc-", "Nats-")
_KNOWN: Final = frozenset({MESSAGE_ID, _ID, _KEY, _PUBLISHER})

#: Most characters of the reason of a dead letter, and of the text of its error.
_REASON_CHARACTERS: Final = 512
_ERROR_CHARACTERS: Final = 1024

#: Words of the subject for an acknowledgement that tell of the delivery.
_WORDS_WITH_DOMAIN: Final = 11

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def headers_of(message: OutgoingMessage, *, id: str | None = None) -> dict[str, str]:
    """Return the headers of a message.

    Args:
        id: for a message that gets its number later, as JetStream removes its own headers by then.
    """
    found = dict(message.headers)
    if (given := message.id) is not None:
        # One that has to be quoted is never equal to another one.
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


class _Parts(NamedTuple):
    id: str
    key: str | None
    publisher: str | None
    headers: Mapping[str, str]


def _parts(given: Mapping[str, str] | None, default_id: str) -> _Parts:
    """Return the parts of a message in its headers.

    Args:
        default_id: the id of a message that another program published without one.
    """
    found = given or {}
    if (rest := found.get(_REST)) is not None:
        told = json.loads(rest)
        return _Parts(**{**told, "id": told["id"] or default_id})
    headers = {name: text for name, text in found.items() if not name.startswith(_OWN)}
    id = found.get(_ID) or found.get(MESSAGE_ID) or default_id
    return _Parts(id, found.get(_KEY), found.get(_PUBLISHER), headers)


class DeliveryNumbers(NamedTuple):
    """The numbers of a delivery, in the subject for its acknowledgement."""

    deliveries: int
    sequence: int

    #: The number of the delivery in its consumer.
    number: int

    #: Since 1970, when the message was kept.
    nanoseconds: int

    @classmethod
    def of(cls, message: Msg) -> "DeliveryNumbers":
        """Return the numbers of a message of a consumer."""
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<number>.<nanoseconds>.<pending>; where the server has a
        # domain, two more words before the stream and one at the end.
        words = message.reply.split(".")[:_WORDS_WITH_DOMAIN]
        return cls(int(words[-5]), int(words[-4]), int(words[-3]), int(words[-2]))


def id_of(run: str, sequence: int) -> str:
    """Return the id of a message without one of its publisher.

    Args:
        run: names the stream, which another one of its name is not.
    """
    return f"{run}-{sequence:x}"


def delivery_in(message: Msg, reply: DeliveryNumbers, names: SubjectNames, run: str, token: Any) -> Delivery:
    """Return the delivery in a message of a consumer. Arguments as of `id_of`."""
    parts = _parts(message.headers, id_of(run, reply.sequence))
    topic, number, at = names.name_in(message.subject), reply.sequence, reply.nanoseconds
    if message.headers is not None and (again := message.headers.get(_AGAIN)) is not None:
        was = json.loads(again)
        topic, number, at = was["topic"], was["sequence"], was["at"]
    return Delivery(
        topic=topic,
        body=message.data,
        key=parts.key,
        id=parts.id,
        sequence=number,
        headers=parts.headers,
        publisher=parts.publisher,
        published_at=at_nanoseconds(at),
        delivery=reply.deliveries,
        token=token,
    )


def dead_headers(message: Msg, delivery: Delivery, reason: str, error: str) -> dict[str, str]:
    """Return the headers of a dead letter."""
    told = {
        **_was(delivery),
        "deliveries": delivery.delivery,
        "reason": reason[:_REASON_CHARACTERS],
        "error": error[:_ERROR_CHARACTERS],
    }
    return {**_kept(message.headers, delivery.id), _DEAD: json.dumps(told)}


def _was(delivery: Delivery) -> dict[str, Any]:
    at = (delivery.published_at - _EPOCH) // timedelta(microseconds=1) * 1000
    return {"topic": delivery.topic, "sequence": delivery.sequence, "at": at}


def _kept(given: Mapping[str, str] | None, id: str) -> dict[str, str]:
    """Return the headers of a message for a copy, without JetStream's."""
    own = ("Nats-", _AGAIN, _DEAD)
    found = {name: text for name, text in (given or {}).items() if not name.startswith(own)}
    if _REST not in found:
        found[_ID] = id
    return found


def letter_in(message: Msg, died_at: datetime) -> DeadLetter:
    """Return the dead letter in a message of a stream of dead letters."""
    parts = _parts(message.headers, "")
    was = json.loads((message.headers or {})[_DEAD])
    return DeadLetter(
        topic=was["topic"],
        body=message.data,
        key=parts.key,
        id=parts.id,
        sequence=was["sequence"],
        headers=parts.headers,
        publisher=parts.publisher,
        published_at=at_nanoseconds(was["at"]),
        deliveries=was["deliveries"],
        reason=was["reason"],
        error=was["error"],
        died_at=died_at,
    )


def replay_headers(message: Msg, id: str) -> dict[str, str]:
    """Return the headers with which a group gets a dead letter again.

    Args:
        id: by which JetStream finds a replay that was sent twice.
    """
    headers = message.headers or {}
    letter = _parts(headers, "")
    was = {name: json.loads(headers[_DEAD])[name] for name in ("topic", "sequence", "at")}
    return {**_kept(headers, letter.id), _AGAIN: json.dumps(was), MESSAGE_ID: id}


def at_nanoseconds(nanoseconds: int) -> datetime:
    """Return the time of day, in UTC."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
