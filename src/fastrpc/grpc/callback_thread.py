"""A thread for a program's callbacks, which may call a channel, wait for it and close it."""

import logging
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

from fastrpc.user_code import contained

__all__ = ["CallbackThread", "call_logged"]

logger = logging.getLogger("fastrpc.grpc")


class CallbackThread:
    """Calls functions one after another, in a thread that starts with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        #: None ends the thread.
        self._functions: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._is_started = False
        self._is_ended = False

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Queue a function. After the thread has ended, the function runs in the caller's thread."""
        with self._lock:
            if not self._is_ended:
                self._functions.put(partial(function, *arguments))
                if not self._is_started:
                    self._is_started = True
                    threading.Thread(target=self._run, name=self._name, daemon=True).start()
                return
        call_logged(function, *arguments)

    def end(self) -> None:
        """End the thread after the functions that are queued so far."""
        with self._lock:
            self._is_ended = True
            self._functions.put(None)

    def _run(self) -> None:
        while (function := self._functions.get()) is not None:
            call_logged(function)


def call_logged(function: Callable[..., object], *arguments: object) -> None:
    """Call a function of the program, and log its exception instead of raising it."""
    try:
        with contained("a callback"):
            function(*arguments)
    except Exception:
        logger.exception("a callback failed")
