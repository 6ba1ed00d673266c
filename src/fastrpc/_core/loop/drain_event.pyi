import asyncio
from collections.abc import Callable

class DrainEvent(asyncio.Event):
    """An event that is set when a connection drains.

    It can also call functions, so that a function needs no task that waits for the event.
    """

    def __init__(self) -> None: ...
    def notify(self, function: Callable[[], None]) -> None:
        """Call a function without arguments when the event is set; immediately if it is already set."""

    def forget(self, function: Callable[[], None]) -> None:
        """No longer call a function."""

    def set(self) -> None:
        """Set the event, and call the functions; the error of one is logged."""
