"""The structs of `fastrpc.broker`: messages and settlements as they travel, and their checks."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, Protocol

import msgspec

from fastrpc.brokers.base import Delivery, OutgoingMessage
from fastrpc.brokers.base.checks import TEXT_BYTES
from fastrpc.brokers.base.seconds import is_seconds, shown
from fastrpc.brokers.base.texts import OWN_PREFIX, bytes_of, checked_headers, copied_headers, shared_headers
from fastrpc.errors import ConfigError

__all__ = [
    "MESSAGE_BYTES",
    "BrokerFault",
    "ConsumeRequest",
    "ConsumeResult",
    "DeliveredMessage",
    "PublishedMessage",
    "PulledMessage",
    "PulledSettlement",
    "Settlement",
    "SettlementFailure",
    "Verb",
    "Weighed",
    "delivered",
    "outgoing",
    "sent",
    "sent_headers",
    "weight",
    "weights_of",
]

#: Most bytes of a message between client and server: sixteen of the longest values, in base64.
MESSAGE_BYTES: Final = 24 * 1024 * 1024

#: Approximate bytes of a message besides its texts: its numbers and the names of its fields.
_FRAME_BYTES: Final = 256

#: The end of a delivery.
Verb = Literal["ack", "nack", "reject", "hand_back"]


class PublishedMessage(msgspec.Struct, frozen=True, gc=False):
    """A message to be kept, as its publisher sends it."""

    topic: str
    body: bytes
    key: str | None = None

    #: The broker keeps one of several messages with the same id, see `age`; None: the broker makes an id.
    id: str | None = None

    #: Seconds before the first delivery.
    delay: float = 0.0
    headers: Mapping[str, str] | None = None

    #: The trace of the publisher, by the names of its propagator, such as traceparent.
    trace: Mapping[str, str] | None = None

    #: None: the publisher gave the id, and a second message with it is a duplicate. Otherwise the client made the id
    #: for this publication alone, and these are the seconds since its first attempt; 0: the first attempt.
    age: float | None = None


class DeliveredMessage(msgspec.Struct, frozen=True, gc=False):
    """A message that the caller has to settle by its number; `follow` has settled it already."""

    number: int
    topic: str
    body: bytes
    id: str
    sequence: int
    published_at: datetime

    #: 1 for the first delivery; a delivery that was handed back is not counted.
    delivery: int = 1
    key: str | None = None
    publisher: str | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class PulledMessage(msgspec.Struct, frozen=True):
    """A message with a lease, which the caller has to settle by its token."""

    token: str
    message: DeliveredMessage


class Settlement(msgspec.Struct, frozen=True):
    """The end of a delivery of `consume`."""

    number: int
    verb: Verb

    #: For nack: seconds until the next delivery.
    delay: float = 0.0

    #: For reject: both are kept with the dead letter.
    reason: str = ""
    error: str = ""


class PulledSettlement(msgspec.Struct, frozen=True):
    """The end of the delivery of a pulled message, or more time for it."""

    token: str
    verb: Literal["ack", "nack", "reject", "hand_back", "renew"] = "ack"

    #: For nack: seconds until the next delivery.
    delay: float = 0.0

    #: For reject: both are kept with the dead letter.
    reason: str = ""
    error: str = ""

    #: For renew: seconds from now on.
    lease_seconds: float = 30.0


class ConsumeRequest(msgspec.Struct, frozen=True):
    """A step of a consumer."""

    #: Most messages of the next batch; each request gets one batch. 0 withdraws the previous request, None keeps it.
    take: int | None = None

    #: Numbers of messages that are handled.
    acks: Sequence[int] = ()

    #: Other ends of deliveries.
    settlements: Sequence[Settlement] = ()

    #: Whether the acks may be kept with other changes, or within some 10 ms: the consumer needs no answer before.
    may_wait: bool = False


class SettlementFailure(msgspec.Struct, frozen=True):
    """The broker could not settle a message, which is still under way."""

    number: int

    #: The name of the status.
    status: str
    message: str
    retryable: bool = False


class ConsumeResult(msgspec.Struct, frozen=True):
    """News for a consumer. The first one is empty: the caller is a member of the group."""

    deliveries: Sequence[DeliveredMessage] = ()

    #: Whether further results have messages of the same batch.
    has_more: bool = False

    #: Whether a request to take messages was taken back: no delivery follows until the next one.
    is_idle: bool = False

    #: Numbers of messages whose settlement is kept.
    kept: Sequence[int] = ()

    #: Numbers of messages that other members may already have.
    lost: Sequence[int] = ()
    failures: Sequence[SettlementFailure] = ()


class BrokerFault(msgspec.Struct, frozen=True):
    """The details of a refusal: whether an argument or the configuration is wrong, and a way out."""

    is_config: bool = False
    hint: str | None = None


_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

#: The longest id that a client makes, in characters.
_LONGEST_MADE_ID: Final = 64


def outgoing(message: PublishedMessage, publisher: str | None) -> OutgoingMessage:
    """Return a message for the backend.

    Raises:
        ConfigError: a text or a header is not allowed; the backend checks everything else.
        TypeError: a header is not text.
    """
    id, made_id, age = message.id, None, message.age
    if message.key is not None:
        _check_short("key", message.key)
    if id is not None:
        _check_short("id", id)
    if age is not None:
        if id is None or (age and not is_seconds(age)):
            raise ConfigError(
                f"the age of a message is {shown(age)}, it must be a number of seconds, given with an id"
            )
        if len(id) > _LONGEST_MADE_ID:
            raise ConfigError(
                f"the id of a message with an age has {len(id)} characters, it must have 1 to {_LONGEST_MADE_ID}"
            )
        id, made_id = None, id
    headers = shared_headers(message.headers) if message.headers else _NO_HEADERS
    if message.trace:
        trace = {f"{OWN_PREFIX}{name}": text for name, text in checked_headers(message.trace).items()}
        headers = MappingProxyType({**headers, **trace})
    return OutgoingMessage(
        message.topic, message.body, message.key, id, message.delay, headers, publisher, made_id, age or 0.0
    )


def sent(message: OutgoingMessage) -> PublishedMessage:
    """Return a message as its publisher sends it."""
    headers, trace = sent_headers(message.headers)
    id, age = message.id, None
    if id is None and message.made_id is not None:
        id, age = message.made_id, message.age
    return PublishedMessage(message.topic, message.body, message.key, id, message.delay, headers, trace, age)


def sent_headers(headers: Mapping[str, str]) -> tuple[Mapping[str, str] | None, Mapping[str, str] | None]:
    """Return the headers of the publisher and its trace, as they travel."""
    for name in headers:
        if name.startswith(OWN_PREFIX):
            break
    else:
        return headers or None, None
    trace = {
        name.removeprefix(OWN_PREFIX): text for name, text in headers.items() if name.startswith(OWN_PREFIX)
    }
    return {name: text for name, text in headers.items() if not name.startswith(OWN_PREFIX)}, trace


def delivered(number: int, one: Delivery, headers: Mapping[str, str] | None = None) -> DeliveredMessage:
    """Return a delivery as it travels.

    Args:
        headers: its headers as a dictionary; None: build one.
    """
    return DeliveredMessage(
        number,
        one.topic,
        one.body,
        one.id,
        one.sequence,
        one.published_at,
        one.delivery,
        one.key,
        one.publisher,
        copied_headers(one.headers) if headers is None else headers,
    )


class Weighed(Protocol):
    """A delivery or a dead letter."""

    @property
    def topic(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def key(self) -> str | None: ...
    @property
    def id(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


def weight(one: Weighed) -> int:
    """Return the bytes of a message as it travels, about, by which results are cut."""
    return weights_of((one,))[0]


def weights_of(messages: Sequence[Weighed]) -> list[int]:
    """Return the weight of each message. Headers that messages share are read once."""
    headers: Mapping[str, str] | None = None
    size_of_headers = 0
    weights = []
    for one in messages:
        if one.headers is not headers:
            headers = one.headers
            size_of_headers = sum(len(name) + len(text) for name, text in headers.items())
        size = _FRAME_BYTES + size_of_headers + len(one.body) + len(one.topic) + len(one.id)
        weights.append(size if one.key is None else size + len(one.key))
    return weights


def _check_short(name: str, text: str) -> None:
    if text.isascii() and 0 < len(text) <= TEXT_BYTES:
        return
    if not 0 < len(bytes_of(text, f"the {name} of a message")) <= TEXT_BYTES:
        raise ConfigError(f"the {name} of a message must have 1 to {TEXT_BYTES} bytes")
