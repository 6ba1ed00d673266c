from typing import final

from fastrpc import config
from fastrpc._core.server.memory_budget import MemoryBudget
from fastrpc._core.server.refused_calls import RefusedCalls
from fastrpc._core.server.served_call import WaitingCalls
from fastrpc._core.server.served_connection import ServedConnection

class LaterSteps:
    """The steps of the gate with which a call continues after a wait."""

@final
class CallAdmission:
    """The budgets of one server, over all of its connections: bytes held, and calls that wait for their start.

    Args:
        memory: the bytes that the connections hold.
        refusals: refuse calls over a budget, and calls that waited too long.
        bounds: length and age of the queue.
    """

    def __init__(self, memory: MemoryBudget, refusals: RefusedCalls, bounds: config.Admission) -> None: ...
    @property
    def waiting(self) -> int:
        """Calls that wait for their start."""

    @property
    def prioritised(self) -> WaitingCalls:
        """The waiting calls of another priority than 0."""

    def look_at(self, connection: ServedConnection) -> None:
        """Refuse calls that waited for too long on a connection whose engine does not check this."""
