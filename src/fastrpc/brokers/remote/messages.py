"""The structs that the service `fastrpc.broker` sends and receives, and their checks."""

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

#: Most bytes of an RPC message between client and server: sixteen values of the greatest size, in base64.
MESSAGE_BYTES: Final = 24 * 1024 * 1024

#: Approximate bytes of an encoded message besides its texts: numbers and names of fields.
_FRAME_BYTES: Final = 256

#: A way to settle a delivery.
Verb = Literal["ack", "nack", "reject", "hand_back"]


class PublishedMessage(msgspec.Struct, frozen=True, gc=False):
    """A message to publish, in the form in which it is sent."""

    topic: str
    body: bytes
    key: str | None = None

    #: The broker keeps only one message with the same id, see `age`; None: the broker makes an id.
    id: str | None = None

    #: Seconds before the first delivery.
    delay: float = 0.0
    headers: Mapping[str, str] | None = None

    #: The trace context of the publisher: the fields of its propagator, such as traceparent.
    trace: Mapping[str, str] | None = None

    #: None: the publisher gave the id, and a second message with the id is a duplicate. Otherwise the client made the
    #: id for one publication, and `age` is the seconds since its first attempt; 0 for the first attempt.
    age: float | None = None


class DeliveredMessage(msgspec.Struct, frozen=True, gc=False):
    """A message that the caller has to settle by its number; `follow` has settled it already."""

    number: int
    topic: str
    body: bytes
    id: str
    sequence: int
    published_at: datetime

    #: The number of this delivery, from 1; deliveries that were handed back are not counted.
    delivery: int = 1
    key: str | None = None
    publisher: str | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class PulledMessage(msgspec.Struct, frozen=True):
    """A message with a lease, which the caller has to settle by its token."""

    token: str
    message: DeliveredMessage


class Settlement(msgspec.Struct, frozen=True):
    """The settlement of a delivery of `consume`."""

    number: int
    verb: Verb

    #: For nack: seconds until the next delivery.
    delay: float = 0.0

    #: For reject: `reason` and `error` are kept with the dead letter.
    reason: str = ""
    error: str = ""


class PulledSettlement(msgspec.Struct, frozen=True):
    """The settlement of a pulled message, or the renewal of its lease."""

    token: str
    verb: Literal["ack", "nack", "reject", "hand_back", "renew"] = "ack"

    #: For nack: seconds until the next delivery.
    delay: float = 0.0

    #: For reject: `reason` and `error` are kept with the dead letter.
    reason: str = ""
    error: str = ""

    #: For renew: the length of the new lease in seconds, from now.
    lease_seconds: float = 30.0


class ConsumeRequest(msgspec.Struct, frozen=True):
    """A request of a consumer: for messages, and to settle messages."""

    #: Request a batch of at most this many messages. 0 withdraws the previous request; None does not change it.
    take: int | None = None

    #: Numbers of messages to acknowledge.
    acks: Sequence[int] = ()

    #: Other settlements.
    settlements: Sequence[Settlement] = ()

    #: True if the broker may keep the acks together with later changes, after at most some 10 ms.
    may_wait: bool = False


class SettlementFailure(msgspec.Struct, frozen=True):
    """The broker could not settle a message, which is still under way."""

    number: int

    #: The name of the status.
    status: str
    message: str
    retryable: bool = False


class ConsumeResult(msgspec.Struct, frozen=True):
    """Deliveries and outcomes for a consumer. The first result is empty and means that the caller has joined."""

    deliveries: Sequence[DeliveredMessage] = ()

    #: True if further results have messages of the same batch.
    has_more: bool = False

    #: True if the request for messages was withdrawn: no delivery follows before another request.
    is_idle: bool = False

    #: Numbers of messages that are settled.
    kept: Sequence[int] = ()

    #: Numbers of messages that other members may already have.
    lost: Sequence[int] = ()
    failures: Sequence[SettlementFailure] = ()


class BrokerFault(msgspec.Struct, frozen=True):
    """The details of a refusal: whether an argument or the configuration is wrong, and a hint."""

    is_config: bool = False
    hint: str | None = None


_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

#: Most characters of an id that a client makes.
_LONGEST_MADE_ID: Final = 64


def outgoing(message: PublishedMessage, publisher: str | None) -> OutgoingMessage:
    """Return a message for the backend.

    Raises:
        ConfigError: a text or a header is invalid; the backend checks everything else.
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
    """Return a message in the form in which its publisher sends it."""
    headers, trace = sent_headers(message.headers)
    id, age = message.id, None
    if id is None and message.made_id is not None:
        id, age = message.made_id, message.age
    return PublishedMessage(message.topic, message.body, message.key, id, message.delay, headers, trace, age)


def sent_headers(headers: Mapping[str, str]) -> tuple[Mapping[str, str] | None, Mapping[str, str] | None]:
    """Split headers into the publisher's headers and the trace context, in the form in which they are sent."""
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
    """Return a delivery in the form in which it is sent.

    Args:
        headers: the headers as a dictionary; None: create one.
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
    """Return the approximate bytes of a message when it is sent. Results are split by these sizes."""
    return weights_of((one,))[0]


def weights_of(messages: Sequence[Weighed]) -> list[int]:
    """Return the weight of each message. Headers that messages share are measured once."""
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
