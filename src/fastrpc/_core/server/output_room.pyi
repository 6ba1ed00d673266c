from typing import final

from fastrpc._core.base.timer_wheel import Timed
from fastrpc._core.server.memory_budget import MemoryBudget

@final
class OutputRoom(Timed):
    """The room for the outputs of one server's connections.

    Args:
        memory: the sum and its bound.
        sent_bytes: the most bytes of a sent message.
    """

    def __init__(self, memory: MemoryBudget, sent_bytes: int) -> None: ...
    @property
    def memory(self) -> MemoryBudget: ...
    @property
    def has_room(self) -> bool:
        """Whether the sum of the process is within its limit."""
