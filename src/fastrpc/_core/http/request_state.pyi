from fastrpc._core.exchange.exchange import HttpApplication

class BodyReading:
    """How a body that comes in parts is read."""

class RequestState(HttpApplication):
    """The request of an exchange between its head and the end of its response."""
