"""The blocking variant of brokers. It has the same methods and runs an event loop in one thread.

::

    from fastrpc.brokers.sync import open_broker

    with open_broker("memory://shop") as broker:
        broker.publish("orders.new", {"id": "17"})
"""

from collections.abc import Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from fastrpc.brokers import broker as asynchronous
from fastrpc.brokers.base import DeadLetter, GroupState, Place, Published
from fastrpc.brokers.broker import Broker
from fastrpc.brokers.message import Message
from fastrpc.brokers.subscription import Subscription
from fastrpc.brokers.topic import Topic
from fastrpc.client.credentials import CredentialSource
from fastrpc.config import TLS
from fastrpc.errors import BrokerError
from fastrpc.hosted.blocking import BlockingLife, BlockingThread

__all__ = ["SyncBroker", "SyncMessage", "SyncSubscription", "open_broker"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def open_broker(
    url: str, *, tls: TLS | None = None, credentials: CredentialSource | None = None
) -> "SyncBroker":
    """Return the broker at a URL, for one `with`. For the arguments see `fastrpc.brokers.open_broker`."""
    return SyncBroker(asynchronous.open_broker(url, tls=tls, credentials=credentials))


class SyncBroker:
    """A broker for threads, with the methods of `Broker`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._life = BlockingLife(broker, "broker", BrokerError)

    def __enter__(self) -> Self:
        self._life.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._life.leave(kind, error, traceback)

    def declare(self, topic: Topic[Any]) -> None:
        """Create a topic. Its first use creates it, too."""
        self._life.run(self._broker.declare(topic))

    @overload
    def publish(
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
    def publish(
        self,
        topic: str,
        value: Any,
        *,
        key: str | None = None,
        id: str | None = None,
        delay: float = 0,
        headers: Mapping[str, str] | None = None,
    ) -> Published: ...
    def publish(self, topic: Any, value: Any, **options: Any) -> Published:
        """Publish a message; return once the broker has stored it. For the arguments see `Broker.publish`."""
        return self._life.run(self._broker.publish(topic, value, **options))

    @overload
    def publish_many(
        self,
        topic: Topic[T],
        values: Sequence[T],
        *,
        keys: Sequence[str | None] | None = None,
        ids: Sequence[str | None] | None = None,
    ) -> Sequence[Published]: ...
    @overload
    def publish_many(
        self,
        topic: str,
        values: Sequence[Any],
        *,
        keys: Sequence[str | None] | None = None,
        ids: Sequence[str | None] | None = None,
    ) -> Sequence[Published]: ...
    def publish_many(self, topic: Any, values: Sequence[Any], **options: Any) -> Sequence[Published]:
        """Publish messages, all or none, in their order."""
        return self._life.run(self._broker.publish_many(topic, values, **options))

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
    ) -> "SyncSubscription[T]": ...
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
    ) -> "SyncSubscription[T]": ...
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
    ) -> "SyncSubscription[Any]": ...
    def subscribe(self, pattern: Any, type: Any = None, /, **options: Any) -> "SyncSubscription[Any]":
        """Return the messages of a group, for `with` and then `for`. For the arguments see `Broker.subscribe`."""
        thread = self._life.thread
        return SyncSubscription(thread, self._broker.subscribe(pattern, type, **options))

    def groups(self) -> Sequence[GroupState]:
        """Return the states of all groups but broadcasts, sorted by name."""
        return self._life.run(self._broker.groups())

    def seek(self, group: str, to: Place) -> None:
        """Move a group to "oldest", "new", a datetime or a sequence number; members lose their messages under way."""
        self._life.run(self._broker.seek(group, to))

    def remove_group(self, group: str) -> None:
        """Remove a group with its dead letters."""
        self._life.run(self._broker.remove_group(group))

    def dead_letters(self, group: str) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, the oldest death first."""
        return self._life.run(self._broker.dead_letters(group))

    def replay(self, group: str, *ids: str) -> int:
        """Redeliver the dead letters with these ids, or all, to the group as delivery 1. Return their number."""
        return self._life.run(self._broker.replay(group, *ids))

    def discard(self, group: str, *ids: str) -> int:
        """Discard the dead letters with these ids, or all if no id is given. Return their number."""
        return self._life.run(self._broker.discard(group, *ids))


class SyncSubscription(Generic[T]):
    """The messages of a group: a context manager, and an iterator inside, which threads may share."""

    def __init__(self, thread: BlockingThread, subscription: Subscription[T]) -> None:
        self._thread = thread
        self._subscription = subscription

    def __enter__(self) -> Self:
        self._thread.run(self._subscription.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave(self._subscription.__aexit__(kind, error, traceback))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> "SyncMessage[T]":
        subscription = self._subscription
        try:
            message = self._thread.run(subscription.__anext__(), unwanted=subscription.put_back)
            return SyncMessage(self._thread, message)
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Leave the group: hand back all unsettled messages, and end the iteration."""
        self._leave(self._subscription.close())

    def _leave(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            self._thread.run(work)
        except BrokerError:
            # If the broker is closed, the subscription has left its group already.
            if not self._thread.is_closed:
                raise


class SyncMessage(Generic[T_co]):
    """A message of a group for threads, with the attributes and methods of `Message`."""

    def __init__(self, thread: BlockingThread, message: Message[T_co]) -> None:
        self._thread = thread
        self._message = message
        self.topic = message.topic
        self.value = message.value
        self.key = message.key
        self.id = message.id
        self.sequence = message.sequence
        self.headers = message.headers
        self.publisher = message.publisher
        self.published_at = message.published_at
        self.delivery = message.delivery

    @property
    def is_lost(self) -> bool:
        """True if another member may already have the message; False after this member has settled it."""
        return self._message.is_lost

    def ack(self) -> bool:
        """Acknowledge the message: the group has handled it."""
        return self._thread.run(self._message.ack())

    def nack(self, delay: float | None = None) -> bool:
        """Let the broker deliver the message again, with the next number of `delivery`."""
        return self._thread.run(self._message.nack(delay))

    def reject(self, reason: str, error: str = "") -> bool:
        """Make the message a dead letter: its group gets it again only by a replay.

        For the arguments see `Message.reject`.
        """
        return self._thread.run(self._message.reject(reason, error))

    def hand_back(self) -> bool:
        """Return the message to the broker: any member may get it immediately, and this delivery is not counted."""
        return self._thread.run(self._message.hand_back())

    def forget(self) -> None:
        """Make room for another message in place of this lost message, without settling it."""

        async def forget() -> None:
            self._message.forget()

        self._thread.run(forget())

    def __repr__(self) -> str:
        return repr(self._message)
