from typing import final

from fastrpc._core.server.admission import CallAdmission
from fastrpc._core.server.refused_calls import RefusedCalls

@final
class StartTurns:
    """The turns in which the waiting calls of one server start, over all of its connections; their holds.

    Args:
        admission: the waiting calls.
        refusals: refuse calls that may no longer start.
        send_soft: the bytes of output above which no further call of a connection starts.
    """

    def __init__(self, admission: CallAdmission, refusals: RefusedCalls, send_soft: int) -> None: ...
    def start_waiting(self) -> None:
        """Start waiting calls, by priority and connection after connection, within the time of one turn."""
