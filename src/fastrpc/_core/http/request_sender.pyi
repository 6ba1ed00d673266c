from typing import final

from fastrpc._core.server.engine_served_connection import UnreadRest

@final
class UnreadBody(UnreadRest):
    """The body of a request, which is read only once its sender is known."""
