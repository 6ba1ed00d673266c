from typing import final

from fastrpc._core.exchange.received_exchange import ReceivedExchange

class TimedExchange(ReceivedExchange):
    """A request with an instant among the instants of its connection."""

@final
class ExchangeTimes:
    """The instants of the exchanges of one connection."""
