"""Nothing here is for Python."""

from fastrpc._core.exchange.exchange import Exchange

class Http1Exchange(Exchange):
    """The requests of one connection, one after the other, and their responses."""
