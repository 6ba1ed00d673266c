from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import FrameType
from typing import Any, Self, TextIO

class HandlerTask:
    """Run a handler's coroutine: the first step at once, the others when what it awaits is done.

    To coroutines, callbacks and debuggers it is an `asyncio.Task`: `asyncio.current_task()` returns it from
    the first step on, and `asyncio.all_tasks()` shows it until it ended. It is made without a coroutine and
    then counts as done. Sessions extend it in Cython, begin it, and take its value or error: an exception that is not
    otherwise retrieved is therefore not logged.
    """

    _asyncio_future_blocking: bool
    _log_destroy_pending: bool

    def __new__(cls, loop: AbstractEventLoop) -> Self: ...
    def __await__(self) -> Generator[Any, None, Any]: ...
    def __iter__(self) -> Generator[Any, None, Any]: ...
    def cancel(self, msg: object = None) -> bool:
        """Raise CancelledError where the coroutine waits; return False if it has ended already.

        A task that cancels itself gets the error at its next suspension.
        """

    def cancelling(self) -> int:
        """Return the number of cancel requests that were not withdrawn."""

    def uncancel(self) -> int:
        """Withdraw one cancel request and return the number of those left."""

    def done(self) -> bool:
        """Return whether no coroutine is running or suspended."""

    def cancelled(self) -> bool:
        """Return whether the coroutine ended with CancelledError."""

    def result(self) -> Any:
        """Return the coroutine's value or raise its exception; InvalidStateError before the end."""

    def exception(self) -> BaseException | None:
        """Return the coroutine's exception; raise CancelledError if it was cancelled."""

    def set_result(self, result: object, /) -> None:
        """Raise RuntimeError: only the coroutine can end a task."""

    def set_exception(self, exception: object, /) -> None:
        """Raise RuntimeError: only the coroutine can end a task."""

    def add_done_callback(
        self, callback: Callable[[HandlerTask], object], /, *, context: Context | None = None
    ) -> None:
        """Schedule `callback(task)` for the end of the task, in `context` or a copy of the current one."""

    def remove_done_callback(self, callback: Callable[[HandlerTask], object], /) -> int:
        """Remove every callback equal to this one and return their number."""

    def get_loop(self) -> AbstractEventLoop:
        """Return the loop this task belongs to."""

    def get_coro(self) -> Coroutine[Any, Any, Any] | None:
        """Return the coroutine of the current or last call; None while idle."""

    def get_context(self) -> Context | None:
        """Return the context in which the coroutine runs; None while idle."""

    def get_name(self) -> str:
        """Return the name that was set, or else one made from the call."""

    def set_name(self, value: object, /) -> None:
        """Name the task of this call. The next call in the same object begins with a name made from the call."""

    def get_stack(self, *, limit: int | None = None) -> list[FrameType]:
        """Return the frames where the coroutine waits, or the frames of the error that ended it."""

    def print_stack(self, *, limit: int | None = None, file: TextIO | None = None) -> None:
        """Print what get_stack() returns, to stderr unless `file` is given."""
