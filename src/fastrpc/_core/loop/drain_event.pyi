import asyncio
from collections.abc import Callable

class DrainEvent(asyncio.Event):
    """The event of a connection that drains.

    The event calls functions without a task for each function; a watch would need these tasks.
    """

    def __init__(self) -> None: ...
    def notify(self, function: Callable[[], None]) -> None:
        """Call a function, without arguments, when the event is set; at once if it is set already."""

    def forget(self, function: Callable[[], None]) -> None:
        """Do not call a function any more."""

    def set(self) -> None:
        """Set the event, and call the functions; the error of one is logged."""
