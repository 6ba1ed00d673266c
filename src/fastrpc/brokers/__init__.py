"""Publish and subscribe: topics with types, over a broker that a URL names.

This package may import every package of a lower rank, but not `coordination`, which has the same rank.

A backend, whose interface is in `base`, keeps messages as bytes; `broker_urls.py` finds it by its URL. `broker.py` adds
types, deadlines, repeats and subscriptions.
"""

from typing import TYPE_CHECKING

from fastrpc.first_use import names_on_first_use

__all__ = [
    "Broker",
    "BrokerServer",
    "BrokerService",
    "DeadLetter",
    "GroupState",
    "Message",
    "Published",
    "Subscription",
    "Topic",
    "current_broker",
    "open_broker",
]

if TYPE_CHECKING:
    from fastrpc.brokers.base import DeadLetter, GroupState, Published
    from fastrpc.brokers.broker import Broker, open_broker
    from fastrpc.brokers.current import current_broker
    from fastrpc.brokers.message import Message
    from fastrpc.brokers.remote.server import BrokerServer
    from fastrpc.brokers.remote.service import BrokerService
    from fastrpc.brokers.subscription import Subscription
    from fastrpc.brokers.topic import Topic
else:  # Type checkers would accept any attribute name.
    __getattr__ = names_on_first_use(
        __name__,
        {
            "base": "DeadLetter GroupState Published",
            "broker": "Broker open_broker",
            "current": "current_broker",
            "message": "Message",
            "remote.server": "BrokerServer",
            "remote.service": "BrokerService",
            "subscription": "Subscription",
            "topic": "Topic",
        },
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
