"""The typed broker that `open_broker` returns."""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import count
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

from msgspec.structs import replace

from fastrpc._core.calls.call import scope_deadline
from fastrpc.brokers.arguments import (
    check_group_options,
    check_in_flight,
    check_letters,
    check_short,
    check_values,
    one_each,
)
from fastrpc.brokers.base import (
    HEADER_BYTES,
    BrokerBackend,
    BrokerLimits,
    DeadLetter,
    Delivery,
    GroupSettings,
    GroupState,
    Membership,
    OutgoingMessage,
    Place,
    Published,
)
from fastrpc.brokers.base.checks import check_place
from fastrpc.brokers.base.names import check_group, check_name
from fastrpc.brokers.broker_urls import Opening, open_backend
from fastrpc.brokers.declared import DeclaredTopics, check_pattern
from fastrpc.brokers.message import check_delay
from fastrpc.brokers.subscription import Subscription
from fastrpc.brokers.topic import Topic
from fastrpc.brokers.traces import with_trace
from fastrpc.brokers.values import decoder_of, encode_message
from fastrpc.client.credentials import CredentialSource
from fastrpc.config import TLS
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.hosted.opened import OpenedBackend
from fastrpc.hosted.verbs import PATIENCE_SECONDS, Verbs
from fastrpc.rpc.scope import timeout
from fastrpc.status import Status

__all__ = ["Broker", "open_broker"]

T = TypeVar("T")

#: The shortest age of a repeat, in seconds: an age of 0 means the first attempt.
_SHORTEST_AGE: Final = 0.001

_VERBS: Final = Verbs(BrokerError)
_finish: Final = _VERBS.finish

# Cached because a program publishes to the same names many times.
_check_name: Final = lru_cache(maxsize=1024)(check_name)


def open_broker(url: str, *, tls: TLS | None = None, credentials: CredentialSource | None = None) -> "Broker":
    """Return the broker at a URL, for one `async with`.

    Args:
        url: such as `memory://shop` or `sqlite:///var/lib/shop`.
        tls: the certificates for a URL with `tls=true` that names no certificates.
        credentials: a token, or a function that returns one, for a broker that requires it.

    Raises:
        ConfigError: the scheme is unknown, or an option is wrong.
    """
    return Broker(open_backend(url, tls=tls, credentials=credentials))


class Broker:
    """A client that publishes messages to topics, subscribes to them, and manages groups and dead letters.

    Each method ends within the deadline of the call or the `fastrpc.timeout` around it; without a deadline it ends
    within 5 s. While the broker is unreachable, reads and publications are repeated until then. Other writes are
    repeated only if they did not start.
    """

    def __init__(self, opening: Opening) -> None:
        self._opened = OpenedBackend(opening, "broker", BrokerError)
        self._topics = DeclaredTopics()
        self._subscriptions: set[Subscription[Any]] = set()
        # The first part of the ids that are made for messages without an id. Each opening makes a new one, since a
        # forked process opens the broker again.
        self._run = ""
        # The limits of the backend; None until it is open.
        self._limits: BrokerLimits | None = None
        self._numbers = count(1)
        #: The subscribers of servers that use this broker.
        self.subscribers: set[Any] = set()

    async def __aenter__(self) -> Self:
        await self._opened.enter()
        self._limits = self.backend.limits
        self._run = secrets.token_hex(8)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._opened.is_ours:
            try:
                await self._close_subscriptions()
            finally:
                await self._opened.leave(kind, error, traceback)

    @property
    def backend(self) -> BrokerBackend:
        """The backend, without types, deadlines and repeats.

        Raises:
            BrokerError: it is closed.
            RuntimeError: this process was forked from the process that opened it.
        """
        return self._opened.backend

    async def declare(self, topic: Topic[Any]) -> None:
        """Create a topic. Its first use creates it, too. Declare a pattern before you publish to one of its names.

        Raises:
            ConfigError: the topic exists with other settings, or it overlaps with another topic.
        """
        work = partial(self._topics.declare, self.backend, topic)
        await _finish(f"the declaration of {topic.name!r}", work)

    @overload
    async def publish(
        self,
        topic: Topic[T],
        value: T,
        *,
        key: str | None = None,
        id: str | None = None,
        delay: float = 0,
        headers: Mapping[str, str] | None = None,
    ) -> Published: ...
    @overload
    async def publish(
        self,
        topic: str,
        value: Any,
        *,
        key: str | None = None,
        id: str | None = None,
        delay: float = 0,
        headers: Mapping[str, str] | None = None,
    ) -> Published: ...
    async def publish(
        self,
        topic: Topic[Any] | str,
        value: Any,
        *,
        key: str | None = None,
        id: str | None = None,
        delay: float = 0,
        headers: Mapping[str, str] | None = None,
    ) -> Published:
        """Publish a message; return once the broker has stored it.

        Args:
            topic: a text means the declared topic that covers it, or `Topic(text)` if no topic does.
            value: bytes and protobuf messages are sent in their own encoding, all other values as JSON.
            key: messages with the same key keep their order in a group with `ordered=True`.
            id: the broker keeps one message per id within `Topic.dedupe_seconds`, so publishing it again is safe.
                None: this publication gets a random id, which its repeats share.
            delay: seconds before its first delivery.
            headers: texts for subscribers, with the names of metadata.

        Raises:
            EncodeError: the value cannot be encoded as JSON; or either the value or the type of the topic is bytes or
                protobuf, and the other is not. Other wrong types are not checked here: type checkers find them, and
                subscribers check the type when they decode.
            ConfigError: an argument is wrong, or the broker does not support it.
            BrokerError: the broker refuses the message or is unreachable; `processed` is "unknown" if it may have
                kept the message.
        """
        message = self._outgoing(topic, value, key, id, delay, headers)
        return (await self.keep(topic, (message,)))[0]

    @overload
    async def publish_many(
        self,
        topic: Topic[T],
        values: Sequence[T],
        *,
        keys: Sequence[str | None] | None = None,
        ids: Sequence[str | None] | None = None,
    ) -> Sequence[Published]: ...
    @overload
    async def publish_many(
        self,
        topic: str,
        values: Sequence[Any],
        *,
        keys: Sequence[str | None] | None = None,
        ids: Sequence[str | None] | None = None,
    ) -> Sequence[Published]: ...
    async def publish_many(
        self,
        topic: Topic[Any] | str,
        values: Sequence[Any],
        *,
        keys: Sequence[str | None] | None = None,
        ids: Sequence[str | None] | None = None,
    ) -> Sequence[Published]:
        """Publish messages, all or none, in their order. Other arguments and errors are the same as for `publish`.

        Args:
            keys: one for each value.
            ids: one for each value.
        """
        check_values(values)
        all_keys, all_ids = one_each("keys", keys, values), one_each("ids", ids, values)
        messages = [
            self._outgoing(topic, value, key, id, 0, None)
            for value, key, id in zip(values, all_keys, all_ids, strict=True)
        ]
        return await self.keep(topic, messages) if messages else ()

    @overload
    def subscribe(
        self,
        pattern: Topic[T],
        type: None = None,
        /,
        *,
        group: str | None = None,
        start: Place = "new",
        ordered: bool = False,
        in_flight: int = 100,
    ) -> Subscription[T]: ...
    @overload
    def subscribe(
        self,
        pattern: str,
        type: type[T],
        /,
        *,
        group: str | None = None,
        start: Place = "new",
        ordered: bool = False,
        in_flight: int = 100,
    ) -> Subscription[T]: ...
    @overload
    def subscribe(
        self,
        pattern: str,
        type: None = None,
        /,
        *,
        group: str | None = None,
        start: Place = "new",
        ordered: bool = False,
        in_flight: int = 100,
    ) -> Subscription[Any]: ...
    def subscribe(
        self,
        pattern: Topic[Any] | str,
        type: Any = None,
        /,
        *,
        group: str | None = None,
        start: Place = "new",
        ordered: bool = False,
        in_flight: int = 100,
    ) -> Subscription[Any]:
        """Return the messages of a group, for `async with` and then `async for`.

        A message whose value cannot be decoded becomes a dead letter and is not yielded.

        Args:
            pattern: a topic, or a text with a name or pattern, which means the declared topic that covers it, or
                `Topic(text)` if no topic does.
            type: the type of the values if `pattern` is a text, as for `Topic`.
            group: the members of a group share its messages. None: a broadcast, in which each member gets all messages
                from now on.
            start: where a new group starts: "oldest", "new", a datetime or a sequence number.
            ordered: the group handles one message of each key at a time.
            in_flight: the most messages that this member holds unsettled; the others wait at the broker.

        Raises:
            ConfigError: an argument is wrong, or the broker cannot do it.
        """
        if isinstance(pattern, Topic) and type is not None:
            raise ConfigError(
                f"a type is given beside the topic {pattern.name!r}",
                hint="the topic says the type of its values",
            )
        decode = decoder_of(pattern.type if isinstance(pattern, Topic) else type)
        return self.subscription(pattern, decode, group, start, ordered, in_flight)

    def subscription(
        self,
        pattern: Topic[Any] | str,
        decode: Callable[[Delivery], Any],
        group: str | None,
        start: Place,
        ordered: bool,
        in_flight: int,
    ) -> Subscription[Any]:
        """Return a subscription like `subscribe`, but decode its values with the given function.

        Raises:
            ConfigError: an argument is wrong, or the broker cannot do it.
        """
        backend = self.backend
        name = pattern.name if isinstance(pattern, Topic) else pattern
        check_pattern(name, backend.limits)
        check_place(start)
        check_group_options(backend.limits, group, start, ordered)
        check_in_flight(backend.limits, in_flight)
        join = partial(self._join, pattern, GroupSettings(group, name, start, ordered))
        return Subscription(name, join, decode, in_flight, self._subscriptions)

    async def groups(self) -> Sequence[GroupState]:
        """Return the states of all groups but broadcasts, sorted by name."""
        return await _finish("the list of groups", self.backend.groups)

    async def seek(self, group: str, to: Place) -> None:
        """Move a group to "oldest", "new", a datetime or a sequence number; members lose their messages under way.

        Raises:
            BrokerError: NOT_FOUND: there is no such group.
        """
        check_group(group)
        check_place(to)
        await _finish(f"seek of {group!r}", partial(self.backend.seek, group, to), writes=True)

    async def remove_group(self, group: str) -> None:
        """Remove a group with its dead letters.

        Raises:
            BrokerError: NOT_FOUND: the group does not exist. FAILED_PRECONDITION: a queue needs it.
        """
        check_group(group)
        await _finish(f"removal of {group!r}", partial(self.backend.remove_group, group), writes=True)

    async def dead_letters(self, group: str) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, the oldest death first. BrokerError: NOT_FOUND."""
        check_group(group)
        return await _finish(f"the dead letters of {group!r}", partial(self.backend.dead_letters, group))

    async def replay(self, group: str, *ids: str) -> int:
        """Redeliver the dead letters with these ids, or all, to the group as delivery 1. Return their number."""
        check_letters(group, ids)
        return await _finish(f"replay to {group!r}", partial(self.backend.replay, group, ids), writes=True)

    async def discard(self, group: str, *ids: str) -> int:
        """Discard the dead letters with these ids, or all if no id is given. Return their number."""
        check_letters(group, ids)
        return await _finish(f"discard of {group!r}", partial(self.backend.discard, group, ids), writes=True)

    async def keep(self, topic: Topic[Any] | str, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
        """Publish messages of one topic that were checked already, all or none. Raise BrokerError as `publish` does."""
        backend = self._opened.backend
        if self._topics.has(topic):
            try:
                return await _published(backend, messages)
            except BrokerError as error:
                if error.status is not Status.NOT_FOUND:
                    raise
            # The broker has lost the topic: a broker in memory has restarted.
            self._topics.forget(topic)
        # Both steps share one timeout.
        with timeout(PATIENCE_SECONDS if scope_deadline() is None else None):
            declare = partial(self._topics.declare, backend, topic)
            await _finish(f"publication to {messages[0].topic!r}", declare)
            return await _published(backend, messages)

    def _outgoing(
        self,
        topic: Topic[Any] | str,
        value: Any,
        key: str | None,
        id: str | None,
        delay: float,
        headers: Mapping[str, str] | None,
    ) -> OutgoingMessage:
        """Return a checked message."""
        limits = self._limits or self.backend.limits
        name, kind = (topic.name, topic.type) if isinstance(topic, Topic) else (topic, None)
        _check_name(name)
        if delay or type(delay) is not int:
            check_delay(delay)
        if delay and not limits.has_delay:
            raise ConfigError(
                f"delay is {delay}, {limits.scheme}:// has no delays",
                hint="publish the message when it is due",
            )
        body, kept = encode_message(name, value, kind, headers)
        if key is not None:
            check_short("key", key)
        made_id = None
        if id is not None:
            check_short("id", id)
        elif limits.finds_repeats:
            made_id = f"{self._run}-{next(self._numbers):x}"
        kept = with_trace(kept, HEADER_BYTES)
        return OutgoingMessage(name, body, key, id, float(delay), kept, made_id=made_id)

    async def _join(self, pattern: Topic[Any] | str, group: GroupSettings) -> Membership:
        # Read `backend` again for each attempt: the broker may have been closed, or have lost the topic in an outage.
        backend = self.backend
        await self._topics.declare(backend, pattern)
        membership = await backend.join(group)
        if not self._opened.is_ours:
            await membership.close()
            raise BrokerError("the broker was closed during the call", processed="no")
        return membership

    async def _close_subscriptions(self) -> None:
        """Close all subscriptions, even if one fails; afterwards raise a cancellation, else the first error."""
        failures: list[BaseException] = []
        while self._subscriptions:
            try:
                await self._subscriptions.pop().close()
            except BaseException as failure:
                failures.append(failure)
        if failures:
            raise min(failures, key=lambda failure: isinstance(failure, Exception))


async def _published(backend: BrokerBackend, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
    """Publish messages; retry where a repeated attempt is safe."""
    limits = backend.limits
    finish = _finish
    if limits.ends_in_time or (limits.ends_by_itself and scope_deadline() is None):
        began = time.monotonic()
        try:
            return await backend.publish(messages)
        except BrokerError as error:
            finish = partial(_VERBS.go_on, (began, error))
    return await finish(
        f"publication to {messages[0].topic!r}",
        partial(backend.publish, messages),
        writes=True,
        # The backend keeps one message for each id, so an attempt whose result is unknown may be repeated.
        idempotent=limits.finds_repeats or all(message.id is not None for message in messages),
        repeat=partial(_repeated, backend, messages),
    )


def _repeated(
    backend: BrokerBackend, messages: Sequence[OutgoingMessage], age: float
) -> Awaitable[Sequence[Published]]:
    """Publish messages again, some seconds after a first attempt that may have been kept."""
    age = max(age, _SHORTEST_AGE)
    return backend.publish([one if one.made_id is None else replace(one, age=age) for one in messages])
