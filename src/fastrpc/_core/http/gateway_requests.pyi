from typing import final

from fastrpc._core.http.open_request import OpenRequest

@final
class GatewayRequests(OpenRequest):
    """Answers the requests of one exchange of the gateway."""
