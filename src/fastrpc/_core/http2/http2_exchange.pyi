from typing import final

from fastrpc._core.http2.exchange_times import TimedExchange

@final
class Http2Exchange(TimedExchange):
    """One HTTP request on an HTTP/2 stream, and its response."""
