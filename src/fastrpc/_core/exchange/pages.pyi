from fastrpc._core.exchange.request_head import RequestLimits
from fastrpc._core.link.contract import Outcomes

class Pages:
    """The HTTP requests of one connection, beside the calls of another protocol."""

    @property
    def takes_values(self) -> bool:
        """Whether payloads of some calls are values, not arrays of arguments."""

    @property
    def takes_tunnels(self) -> bool:
        """Whether a request may ask for a tunnel, as a WebSocket does (RFC 8441)."""

    @property
    def limits(self) -> RequestLimits:
        """The limits of heads of requests."""

    @property
    def outcomes(self) -> Outcomes: ...
