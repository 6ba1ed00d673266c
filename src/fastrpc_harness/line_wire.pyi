from typing import final

from fastrpc._core.link.contract import (
    Assembling,
    Backlog,
    Dialect,
    Flow,
    Forms,
    Goodbye,
    Placing,
    Pushing,
    Wire,
)
from fastrpc._core.server.served_call import ServerCall

@final
class LineFlow(Flow):
    """Messages of streams; each message is a line."""

@final
class LineGoodbye(Goodbye):
    """The announcement of a drain and the end: lines that belong to no call."""

@final
class LineBacklog(Backlog):
    """Lines that wait for credit."""

@final
class LineWire(Wire):
    """Lines in, lines out."""

    def __init__(self, *, says_goodbye: bool = False, has_window: bool = False) -> None: ...
    @property
    def calls(self) -> dict[int, ServerCall]:
        """Calls without their answer, by their numbers."""

def attempt(
    part: Placing | Dialect | Forms | Assembling | Pushing | Flow | Goodbye | Backlog | Wire, method: str
) -> None:
    """Call a method of an interface, as a link does it."""
