from typing import final

from fastrpc._core.exchange.received_exchange import ReceivedExchange

@final
class Http2Exchange(ReceivedExchange):
    """One request on a stream of HTTP/2, and its response."""
