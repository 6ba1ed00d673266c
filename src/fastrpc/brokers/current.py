"""Look up the broker of the server whose handler is running."""

from typing import cast

from fastrpc.brokers.broker import Broker
from fastrpc.hosted.resources import resource_here

__all__ = ["current_broker"]


def current_broker() -> Broker:
    """Return the broker of the server whose handler, subscriber or scheduled method is running.

    Raises:
        LookupError: the server has no broker, or the caller is not in a handler.
    """
    return cast(Broker, resource_here("broker"))
