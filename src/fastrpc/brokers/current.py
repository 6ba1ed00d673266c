"""The broker of the server whose handler runs here."""

from typing import cast

from fastrpc.brokers.broker import Broker
from fastrpc.hosted.resources import resource_here

__all__ = ["current_broker"]


def current_broker() -> Broker:
    """Return the broker of the server whose handler, subscriber or scheduled method runs here.

    Raises:
        LookupError: the server has no broker, or no handler runs here.
    """
    return cast(Broker, resource_here("broker"))
