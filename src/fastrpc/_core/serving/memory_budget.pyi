from asyncio import AbstractEventLoop
from logging import Logger
from typing import final
from weakref import WeakSet

from fastrpc import config
from fastrpc._core.base.timed import Timed
from fastrpc._core.loop.loop_state import LoopState
from fastrpc.protocols.base import ServerEngine

logger: Logger
budgets: WeakSet[MemoryBudget]

def bytes_held() -> int:
    """Count the bytes that all connections of this process hold."""

@final
class MemoryBudget(Timed):
    """The bytes that the connections of one server hold."""

    #: Nanoseconds for which credit is held back before the largest holder is closed; tests shorten them.
    full_wait_ns: int

    def __init__(
        self,
        loop: AbstractEventLoop,
        sessions: set[ServerEngine],
        limits: config.Limits,
        memory: config.Memory,
    ) -> None: ...
    @property
    def loop_state(self) -> LoopState: ...
    @property
    def sessions(self) -> set[ServerEngine]:
        """The live connections."""

    @property
    def is_full(self) -> bool:
        """Whether `Memory.process_bytes` is used up, so that no connection credit is returned for now."""
