import asyncio
from collections.abc import Callable

class DrainEvent(asyncio.Event):
    """The event of a connection that drains. It calls functions without a task for each, which a watch would need."""

    def __init__(self) -> None: ...
    def notify(self, function: Callable[[], None]) -> None:
        """Call a function, without arguments, when the event is set; at once if it is set already."""

    def forget(self, function: Callable[[], None]) -> None:
        """Do not call a function any more."""

    def set(self) -> None:
        """Set the event, and call the functions; the error of one is logged."""
