"""The event that is set when a connection drains."""

import asyncio
import logging

from fastrpc.user_code import contained

logger = logging.getLogger("fastrpc.server")


class DrainEvent(asyncio.Event):
    """The event of a connection that drains.

    The event calls functions without a task for each function; a watch would need these tasks.
    """

    def __init__(self):
        super().__init__()
        self._functions = {}

    def notify(self, function):
        """Call a function, without arguments, when the event is set; at once if it is set already."""
        if self.is_set():
            function()
        else:
            self._functions[function] = None

    def forget(self, function):
        """Do not call a function any more."""
        self._functions.pop(function, None)

    def set(self):
        super().set()
        functions, self._functions = self._functions, {}
        for function in functions:
            try:
                with contained("a function that waits for the drain"):
                    function()
            except Exception:
                # The others are called nevertheless, and the connection drains.
                logger.exception("a function that waits for the drain of a connection failed")
