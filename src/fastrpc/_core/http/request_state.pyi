from fastrpc._core.exchange.exchange import HttpApplication

class BodyReading:
    """How a body that comes in parts is read."""

class RequestState(HttpApplication):
    """The request of an exchange from its head to the end of its response."""
