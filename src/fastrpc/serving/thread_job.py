"""One call of a `def` handler, as the thread pool runs it."""

import contextvars
from collections.abc import Callable
from typing import Any

from fastrpc._core.calls.invocation import run_handler
from fastrpc._core.serving.served_call import ServerCall
from fastrpc.errors import CallError
from fastrpc.status import Status

__all__ = ["ThreadJob", "renamed"]


class ThreadJob:
    """One call of a `def` handler, for the thread pool."""

    __slots__ = ("_call", "_context", "_deliver", "_error", "_given", "_handler", "_value", "is_cancelled")

    def __init__(self, call: ServerCall, handler: Callable[..., Any], deliver: Callable[..., object]) -> None:
        self.is_cancelled = False
        self._call = call
        self._handler = handler
        # The call forgets its arguments when it ends, which may be before a thread stops with it.
        self._given = call.given
        self._deliver = deliver
        self._context = contextvars.copy_context()
        self._value: Any = None
        self._error: BaseException | None = None

    @property
    def expired(self) -> bool:
        """Whether nobody waits for it any more: then it is not started."""
        return self.is_cancelled or self._call.remaining() == 0

    def run(self) -> None:
        """Call the handler; in a thread of the pool."""
        try:
            self._value = self._context.run(run_handler, self._call, self._handler, self._given)
        except StopIteration as error:
            # A future does not take it; Python makes the same of one that leaves a coroutine.
            self._error = renamed(self._call, error)
        except KeyboardInterrupt as error:
            # Ctrl-C reaches the main thread only: here somebody raised it by hand, which is to end no process.
            self._error = renamed(self._call, error)
        except BaseException as error:
            self._error = error

    def refuse(self, reason: str) -> None:
        """The pool did not start it."""
        self._call.never_started = True
        if self._call.is_expired or self._call.remaining() == 0:
            # The end of its time stops a call as its caller does.
            text = f"{self._call.method}: its deadline passed before a thread was free"
            self._error = CallError(Status.DEADLINE_EXCEEDED, text, processed="no")
        elif self.is_cancelled:
            self._error = CallError(Status.CANCELLED, f"{self._call.method} was cancelled", processed="no")
        else:
            text = f"{self._call.method} was not started: {reason}"
            self._error = CallError(Status.RESOURCE_EXHAUSTED, text, processed="no")

    def done(self) -> None:
        """Answer; on the loop."""
        self._deliver(self._call, self._value, self._error)


def renamed(call: ServerCall, error: BaseException) -> RuntimeError:
    """Return an error that loops and futures take, in place of one that means something else to them."""
    renamed = RuntimeError(f"{call.method} raised {type(error).__name__}")
    renamed.__cause__ = error
    return renamed
