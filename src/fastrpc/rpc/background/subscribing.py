"""`@subscriber`: the mark of a method that servers call for each message of a topic."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from fastrpc.config import Backoff
from fastrpc.config.validation import is_duration
from fastrpc.errors import ConfigError
from fastrpc.rpc.background.marks import SUBSCRIBER_MARK, marks_of, set_mark
from fastrpc.rpc.refused_arguments import explain_arguments

__all__ = ["MethodSubscription", "TypedTopic", "subscriber", "subscriptions_of"]

F = TypeVar("F", bound=Callable[..., Any])

#: The default pauses: one second after the first delivery, 8½ minutes in total over nine retries.
_BACKOFF: Final = Backoff(first=1.0, factor=2.0, longest=300.0, jitter=0.0)


@runtime_checkable
class TypedTopic(Protocol):
    """The interface of `Topic`, whose class this module may not import."""

    @property
    def name(self) -> str:
        """The name or pattern of the topic."""

    @property
    def type(self) -> Any:
        """The type of the topic's values, or None."""


@dataclass(frozen=True, slots=True)
class MethodSubscription:
    """The topic of a method, and the rules of its deliveries."""

    topic: TypedTopic | str
    group: str | None
    is_broadcast: bool
    start: str | datetime | int
    is_ordered: bool
    concurrency: int
    deliveries: int | None
    backoff: Backoff
    timeout: float | None


@explain_arguments("subscriber")
def subscriber(
    topic: TypedTopic | str,
    *,
    group: str | None = None,
    broadcast: bool = False,
    start: str | datetime | int = "new",
    ordered: bool = False,
    concurrency: int = 10,
    deliveries: int | None = 10,
    backoff: Backoff = _BACKOFF,
    timeout: float | None = 30.0,
) -> Callable[[F], F]:
    """Mark a method of a service that the server runs for each message of a topic.

    ::

        @fastrpc.service("billing")
        class Billing:
            @fastrpc.subscriber(orders)
            async def bill(self, order: Order) -> None: ...

    The parameter is the value of the message, or a `fastrpc.Message` with the value. When the method returns, the
    message is acknowledged. After an exception the message is delivered again: after 3 s for `CallError(…,
    retry_after=3)`, else after the pause of `backoff`. `CallError(Status.INVALID_ARGUMENT, reason)` makes it a dead
    letter immediately. A `def` runs in a thread. Callers can call the method only if it also has `@method`. The server
    needs a broker: `App(…, broker=URL)`.

    Args:
        topic: a `Topic`, or the name or pattern of a topic.
        group: the name of the group whose members share the messages; None means the full name of the method.
        broadcast: True to deliver each message to every process that runs when the message is published. Messages are
            not kept for stopped processes.
        start: where a new group starts: "oldest", "new", a datetime or a sequence number.
        ordered: True to handle messages with the same key one at a time in the group. A retry delays later messages
            with its key.
        concurrency: the most messages that a process handles at the same time. It fetches no message that it cannot
            start.
        deliveries: the number of deliveries after which a message becomes a dead letter; None for no limit.
        backoff: the pauses between deliveries.
        timeout: seconds after which a handler is cancelled, which counts as an exception; None for no limit. A `def`
            keeps running after that, and its message is not delivered again before it returns.

    Raises:
        ConfigError: the value of an option is invalid.
        TypeError: the function has other parameters, or it is a generator.
    """
    subscription = MethodSubscription(
        topic, group, broadcast, start, ordered, concurrency, deliveries, backoff, timeout
    )
    _check(subscription)

    def mark(handler: F) -> F:
        shape = "is a subscriber, so it takes the value of a message: write (self, value)"
        return set_mark(handler, SUBSCRIBER_MARK, subscription, 2, shape)

    return mark


def subscriptions_of(cls: type[Any]) -> dict[str, MethodSubscription]:
    """Return the subscriptions of a class by the names of their methods."""
    return marks_of(cls, SUBSCRIBER_MARK, MethodSubscription)


def _check(given: MethodSubscription) -> None:
    if not isinstance(given.topic, str | TypedTopic):
        raise TypeError(f"the topic of a subscriber is {given.topic!r}, it must be a Topic or a text")
    if given.group is not None and not isinstance(given.group, str):
        raise TypeError(f"group is {given.group!r}, it must be text")
    if given.is_broadcast and (given.group is not None or given.start != "new"):
        option = "start" if given.group is None else "group"
        raise ConfigError(
            f"broadcast=True has no {option}: each process gets the messages from now on",
            hint=f"leave {option} or broadcast out",
        )
    for option, value in (("concurrency", given.concurrency), ("deliveries", given.deliveries)):
        is_none = value is None and option == "deliveries"
        if not is_none and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ConfigError(f"{option} is {value!r}, it must be a number from 1")
    if not isinstance(given.backoff, Backoff):
        raise ConfigError(
            f"backoff is {given.backoff!r}, it must be a Backoff", hint="write fastrpc.Backoff(first=1)"
        )
    if given.timeout is not None and not is_duration(given.timeout):
        raise ConfigError(f"timeout is {given.timeout!r}, it must be a number of seconds above 0 or None")
