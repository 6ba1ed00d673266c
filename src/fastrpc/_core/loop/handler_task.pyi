from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import FrameType
from typing import Any, Self, TextIO

class HandlerTask:
    """Run a handler's coroutine: the first step at once, the others when what it awaits is done.

    To coroutines, callbacks and debuggers it is an `asyncio.Task`: `asyncio.current_task()` returns it from
    the first step on, and `asyncio.all_tasks()` shows it until it ended. It is made without a coroutine and
    then counts as done. Sessions extend it in Cython, begin it, and take its value or error: an exception
    that nobody else retrieves is therefore not logged.
    """

    _asyncio_future_blocking: bool
    _log_destroy_pending: bool

    def __new__(cls, loop: AbstractEventLoop) -> Self: ...
    def __await__(self) -> Generator[Any, None, Any]: ...
    def __iter__(self) -> Generator[Any, None, Any]: ...
    def cancel(self, msg: object = None) -> bool:
        """Have CancelledError raised where the coroutine waits; return False if it ended already.

        A task that cancels itself meets the error at its next suspension.
        """

    def cancelling(self) -> int:
        """Return how many cancellations were asked for and not withdrawn."""

    def uncancel(self) -> int:
        """Withdraw one request to cancel and return how many are left."""

    def done(self) -> bool:
        """Return whether no coroutine is under way."""

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
        """Have the loop call `callback(task)` after the end, in `context` or a copy of the current one."""

    def remove_done_callback(self, callback: Callable[[HandlerTask], object], /) -> int:
        """Forget every callback equal to this one and return how many there were."""

    def get_loop(self) -> AbstractEventLoop:
        """Return the loop this task belongs to."""

    def get_coro(self) -> Coroutine[Any, Any, Any] | None:
        """Return the coroutine of the current or last call; None while idle."""

    def get_context(self) -> Context | None:
        """Return the context in which the coroutine runs; None while idle."""

    def get_name(self) -> str:
        """Return the name that was set, or else the one that tells which call this is."""

    def set_name(self, value: object, /) -> None:
        """Name this call's task; the next call in the same object has its own name again."""

    def get_stack(self, *, limit: int | None = None) -> list[FrameType]:
        """Return the frames where the coroutine waits, or those of the error that ended it."""

    def print_stack(self, *, limit: int | None = None, file: TextIO | None = None) -> None:
        """Print what get_stack() returns, to stderr unless `file` is given."""
