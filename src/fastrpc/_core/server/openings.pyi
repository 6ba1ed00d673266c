from logging import Logger
from typing import Any

from fastrpc._core.base.timer_wheel import Timed
from fastrpc._core.server.gate import Gate

logger: Logger

class Openings(Timed):
    """The connections of one server whose opening is not complete.

    Args:
        gate: counts the connections of the server.
        limit: the most openings at once before silent ones are closed.
        bound: the name of that limit, for the log.
    """

    def __init__(self, gate: Gate, limit: int, bound: str = "Admission.handshakes") -> None: ...
    def __len__(self) -> int: ...
    @property
    def limit(self) -> int: ...
    @property
    def bound(self) -> str: ...
    def add_undecided(self, connection: Any) -> None:
        """Add a connection whose protocol is unknown, or note bytes from it. A silent one is closed by its `abort`."""

    def leave_undecided(self, connection: Any) -> None:
        """Remove a connection whose protocol is known or that was lost."""
