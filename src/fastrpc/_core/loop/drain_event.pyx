"""The event that is set when a connection drains."""

import asyncio
import logging

from fastrpc.user_code import contained

logger = logging.getLogger("fastrpc.server")


class DrainEvent(asyncio.Event):
    """An event that is set when a connection drains.

    It can also call functions, so that a function needs no task that waits for the event.
    """

    def __init__(self):
        super().__init__()
        self._functions = {}

    def notify(self, function):
        """Call a function without arguments when the event is set; immediately if it is already set."""
        if self.is_set():
            function()
        else:
            self._functions[function] = None

    def forget(self, function):
        """No longer call a function."""
        self._functions.pop(function, None)

    def set(self):
        super().set()
        functions, self._functions = self._functions, {}
        for function in functions:
            try:
                with contained("a function that waits for the drain"):
                    function()
            except Exception:
                # The other functions are called nevertheless, and the connection drains.
                logger.exception("a function that waits for the drain of a connection failed")
