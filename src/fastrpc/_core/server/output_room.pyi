from typing import final

from fastrpc._core.base.timer_wheel import Timed
from fastrpc._core.server.memory_budget import MemoryBudget

@final
class OutputRoom(Timed):
    """The room for the outputs of one server's connections."""

    def __init__(self, memory: MemoryBudget) -> None: ...
    @property
    def memory(self) -> MemoryBudget: ...
    @property
    def has_room(self) -> bool:
        """Whether the sum of the process is within its bound."""
