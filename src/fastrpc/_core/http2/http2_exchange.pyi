from typing import final

from fastrpc._core.http2.exchange_times import TimedExchange

@final
class Http2Exchange(TimedExchange):
    """One request on a stream of HTTP/2, and its response."""
