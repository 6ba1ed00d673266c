from typing import final

from fastrpc._core.exchange.received_exchange import ReceivedExchange

class TimedExchange(ReceivedExchange):
    """A request whose deadlines are in the heap of its connection."""

@final
class ExchangeTimes:
    """The deadlines of the exchanges of one connection."""
