from typing import final

from fastrpc._core.http.request_state import RequestState

@final
class GatewayRequests(RequestState):
    """The requests of one exchange of the gateway."""
