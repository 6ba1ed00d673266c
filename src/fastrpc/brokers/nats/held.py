"""A message that is leased to a member, and the terms of a consumer for its members."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from nats.aio.msg import Msg

from fastrpc.brokers.base import Delivery

__all__ = ["PULL_SECONDS", "Held", "Terms"]

#: Seconds for which a pull is open.
PULL_SECONDS: Final = 30.0

#: The part of a lease that is relied on here: the server counts from the time of sending.
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
    """The demands of a consumer on its members, in its configuration."""

    lease_seconds: float

    #: Seconds without a pull after which the server is shown that there is a member.
    idle_seconds: float

    #: Most messages of a pull. In an ordered group a pull ends with its message: a pull that stays open would get the
    #: retry.
    most: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Terms":
        """Return the terms of a consumer."""
        idle = config.get("inactive_threshold")
        idle_seconds = PULL_SECONDS if idle is None else min(idle / 1e9 / 3, PULL_SECONDS)
        return cls(config["ack_wait"] / 1e9 * _COUNTED, idle_seconds, config["max_ack_pending"])
