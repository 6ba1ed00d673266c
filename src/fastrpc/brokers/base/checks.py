"""Limits of messages and topics, which all backends share."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from fastrpc.brokers.base import HEADER_BYTES, MESSAGE_BYTES, OutgoingMessage, Place, TopicSettings
from fastrpc.brokers.base.names import TopicPattern, check_group
from fastrpc.brokers.base.seconds import is_seconds, shown
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.status import Status

__all__ = [
    "TEXT_BYTES",
    "check_due",
    "check_outgoing",
    "check_pause",
    "check_place",
    "check_same",
    "check_topic",
    "no_group",
    "sizes_of",
    "with_id",
]

#: Most bytes of a key, and most bytes of an id.
TEXT_BYTES: Final = 512

#: The greatest sequence number and size: files and protocols hold them as signed 64-bit integers.
_GREATEST: Final = 2**63 - 1

#: A sentinel that differs from the headers of every message.
_NO_HEADERS_YET: Final = object()

#: Bytes of memory that a text occupies besides its characters, including its place in a dictionary.
_OBJECT_BYTES: Final = 100


def check_outgoing(message: OutgoingMessage) -> int:
    """Check the sizes and the delay of a message. Return its bytes in memory: its parts, and an overhead per text.

    Raises:
        BrokerError: INVALID_ARGUMENT: a size or the delay is out of bounds.
    """
    size = len(message.body)
    if size > MESSAGE_BYTES:
        raise _refused(message, f"has {size} bytes, the limit is {MESSAGE_BYTES}")
    try:
        if message.headers:
            size += _headers_size(message)
        if message.key is not None:
            size += _text_size(message, "key", message.key)
        if message.id is not None:
            size += _text_size(message, "id", message.id)
        if message.publisher is not None:
            size += _bytes_of(message.publisher) + _OBJECT_BYTES
    except UnicodeEncodeError as error:
        raise _refused(message, f"has a text that is not UTF-8, {error.object!a}: {error.reason}") from None
    if message.delay and not is_seconds(message.delay):
        raise _refused(message, f"has a delay of {shown(message.delay)} seconds, it must be a number from 0")
    return size


def sizes_of(messages: Sequence[OutgoingMessage]) -> list[int]:
    """Check messages that have no id; return the bytes of each, as `check_outgoing` counts them.

    The common case is fast: messages without keys that share headers and publisher differ only in their bodies.
    """
    sizes: list[int] = []
    headers: object = _NO_HEADERS_YET
    publisher: str | None = None
    size_of_rest = 0
    for message in messages:
        size = len(message.body)
        if (
            message.headers is not headers
            or message.publisher is not publisher
            or message.key is not None
            or message.delay
            or size > MESSAGE_BYTES
        ):
            size = check_outgoing(message)
            if message.key is None:
                headers, publisher = message.headers, message.publisher
                size_of_rest = size - len(message.body)
        else:
            size += size_of_rest
        sizes.append(size)
    return sizes


def with_id(message: OutgoingMessage) -> OutgoingMessage:
    """Return a message with `made_id` as its `id`, for a backend that indexes the ids of all messages."""
    return message if message.made_id is None else replace(message, id=message.made_id, made_id=None)


def check_due(message: OutgoingMessage, topic: TopicSettings) -> None:
    """Check that a delayed message is due before its topic drops it.

    Raises:
        BrokerError: INVALID_ARGUMENT: a log would drop the message first.
    """
    keep = topic.keep_seconds
    if keep is not None and message.delay >= keep:
        raise _refused(
            message,
            f"has a delay of {message.delay} seconds, and {topic.name} keeps a message for {keep} seconds",
            hint="raise keep_seconds of the topic, or publish the message when it is due",
        )


def check_pause(seconds: float) -> None:
    """Check the pause before a retry.

    Raises:
        ConfigError: the pause is not a number of seconds from 0.
    """
    if not is_seconds(seconds):
        raise ConfigError(f"the pause before a retry is {shown(seconds)} seconds, it must be a number from 0")


def check_topic(topic: TopicSettings) -> None:
    """Check the settings of a topic.

    Raises:
        TypeError: a name is not text.
        ConfigError: a setting is out of bounds.
    """
    TopicPattern(topic.name)
    for group in topic.groups:
        check_group(group)
    keep = topic.keep_seconds
    if keep is None and not topic.groups:
        raise ConfigError(
            f"the queue {topic.name} has no groups: nothing would say when a message is handled",
            hint="name them, groups=('billing',), or give keep_seconds",
        )
    if keep is not None and topic.groups:
        raise ConfigError(
            f"the topic {topic.name!r} is a log with groups, but only a queue declares groups",
            hint="leave groups out, as groups join a log when they subscribe; or write keep_seconds=None",
        )
    if len(set(topic.groups)) < len(topic.groups):
        raise ConfigError(f"the topic {topic.name} names a group twice: {', '.join(topic.groups)}")
    if keep is not None and not (is_seconds(keep) and keep > 0):
        raise _wrong(topic, "keep_seconds", "a number of seconds above 0 or None")
    if not (is_seconds(topic.dedupe_seconds) and topic.dedupe_seconds > 0):
        raise _wrong(topic, "dedupe_seconds", "a number of seconds above 0")
    size = topic.max_bytes
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= _GREATEST:
        raise _wrong(topic, "max_bytes", f"a number of bytes from 1 to {_GREATEST}")


def check_same(given: TopicSettings, kept: TopicSettings) -> None:
    """Check that a declaration repeats the settings of a topic.

    Raises:
        ConfigError: a setting differs.
    """
    for name in ("keep_seconds", "groups", "max_bytes", "dedupe_seconds"):
        wanted, present = getattr(given, name), getattr(kept, name)
        if wanted != present:
            raise ConfigError(
                f"the topic {given.name} was declared with {name}={present!r}, not {wanted!r}",
                hint="declare it everywhere by one Topic that all sides import",
            )


def check_place(place: Place) -> None:
    """Check a place in a topic.

    Raises:
        ConfigError: it is not a place.
    """
    if isinstance(place, datetime):
        if place.tzinfo is None:
            raise ConfigError(
                f"the place {place.isoformat()} has no time zone", hint="write datetime(…, tzinfo=UTC)"
            )
    elif place not in ("oldest", "new") and (
        not isinstance(place, int) or isinstance(place, bool) or not 0 <= place <= _GREATEST
    ):
        raise ConfigError(
            f"{shown(place)} is not a place in a topic",
            hint=f'write "oldest", "new", a datetime, or a sequence number from 0 to {_GREATEST}',
        )


def _text_size(message: OutgoingMessage, name: str, text: str) -> int:
    length = _bytes_of(text)
    if length > TEXT_BYTES:
        raise _refused(message, f"has {length} bytes of its {name}, the limit is {TEXT_BYTES}")
    return length + _OBJECT_BYTES


def _headers_size(message: OutgoingMessage) -> int:
    size = 0
    for name, value in message.headers.items():
        # Inlines `_bytes_of`: its calls would take most of the time of a check.
        size += len(name) if name.isascii() else len(name.encode())
        size += len(value) if value.isascii() else len(value.encode())
    if size > HEADER_BYTES:
        raise _refused(message, f"has {size} bytes of headers, the limit is {HEADER_BYTES}")
    return size + 2 * _OBJECT_BYTES * len(message.headers)


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _wrong(topic: TopicSettings, option: str, allowed: str) -> ConfigError:
    value = shown(getattr(topic, option))
    return ConfigError(f"{option} of the topic {topic.name!r} is {value}, it must be {allowed}")


def _refused(message: OutgoingMessage, fault: str, hint: str | None = None) -> BrokerError:
    return BrokerError(
        f"a message for {message.topic} {fault}",
        status=Status.INVALID_ARGUMENT,
        processed="no",
        hint=hint,
    )


def no_group(name: str) -> BrokerError:
    """Return the error for a group that does not exist."""
    return BrokerError(
        f"there is no group {name}",
        status=Status.NOT_FOUND,
        processed="no",
        hint="`fastrpc topics` lists the groups, and so does groups()",
    )
