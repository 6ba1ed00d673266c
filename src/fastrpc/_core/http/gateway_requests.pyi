from typing import final

from fastrpc._core.exchange.exchange import HttpApplication

@final
class GatewayRequests(HttpApplication):
    """Answers the requests of one connection of the gateway."""
