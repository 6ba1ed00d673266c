"""A message that is leased to a member, and the limits that a consumer sets for its members."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from nats.aio.msg import Msg

from fastrpc.brokers.base import Delivery

__all__ = ["PULL_SECONDS", "Held", "Terms"]

#: Seconds for which a pull request stays open.
PULL_SECONDS: Final = 30.0

#: The part of a lease that the client relies on: the server counts from the time at which it sent the message.
_COUNTED: Final = 0.9


class Held:
    """A message that is leased to this member."""

    __slots__ = ("delivery", "is_settled", "is_settling", "message", "until")

    def __init__(self, message: Msg, delivery: Delivery | None, until: float) -> None:
        self.message = message
        self.delivery = delivery
        #: The end of the lease, as far as the server has confirmed it.
        self.until = until
        self.is_settled = self.is_settling = False


class Terms(NamedTuple):
    """The limits in a consumer's configuration that its members have to obey."""

    lease_seconds: float

    #: Seconds without a pull after which the member sends one, so that the server does not remove the consumer.
    idle_seconds: float

    #: Most messages of a pull. In an ordered group it is 1, so that a pull ends with its message: a pull that stayed
    #: open would get the retry.
    most: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Terms":
        """Return the terms of a consumer."""
        idle = config.get("inactive_threshold")
        idle_seconds = PULL_SECONDS if idle is None else min(idle / 1e9 / 3, PULL_SECONDS)
        return cls(config["ack_wait"] / 1e9 * _COUNTED, idle_seconds, config["max_ack_pending"])
