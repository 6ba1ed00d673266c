"""Calls of user code in tasks, callbacks and threads of fastrpc.

Some exceptions control an event loop, a thread, a future or a generator: SystemExit ends the program, CancelledError
the task, GeneratorExit and StopIteration the generator. They must not have this effect if user code raises them.
`contained` converts them to a ContainedError, which is answered or logged like any other error.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, NoReturn, TypeVar

__all__ = [
    "ContainedError",
    "as_error",
    "contained",
    "interrupts_handled",
    "pass_interrupt",
    "plain_error",
    "without_exit",
]

T = TypeVar("T")

#: Called instead of raising the signal. None: no server of this process handles interrupts.
_on_interrupt: Callable[[], None] | None = None


class ContainedError(RuntimeError):
    """User code raised an exception that is not an ordinary error. That exception is the `__cause__`."""


def as_error(error: BaseException, name: str) -> Exception:
    """Return an exception that has no effect on loops: the same if it is ordinary, else a ContainedError."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration):
        return error
    stand_in = ContainedError(f"{name} raised {type(error).__name__}")
    stand_in.__cause__ = error
    return stand_in


def plain_error(error: BaseException, name: str) -> Exception:
    """Return the error to report for an exception of the named function, which must not await.

    Raises:
        KeyboardInterrupt: Ctrl-C in the main thread without a loop, which the program has to handle.
    """
    if isinstance(error, KeyboardInterrupt):
        loop = _running_loop()
        if loop is not None:
            pass_interrupt(loop)
        elif threading.current_thread() is threading.main_thread():
            raise error
    return as_error(error, name)


def pass_interrupt(loop: asyncio.AbstractEventLoop) -> None:
    """Raise a KeyboardInterrupt from code on the loop again, with the effect of Ctrl-C: a server drains."""
    # Raised in a separate callback, so that without a signal handler the exception leaves the loop.
    loop.call_soon(_interrupt)


@contextlib.contextmanager
def interrupts_handled(handler: Callable[[], None]) -> Iterator[None]:
    """Inside the block, on any loop, call `handler` for each KeyboardInterrupt given to `pass_interrupt`.

    During a drain a signal would count as a second Ctrl-C and end the drain.
    """
    global _on_interrupt
    before, _on_interrupt = _on_interrupt, handler
    try:
        yield
    finally:
        _on_interrupt = before


def _interrupt() -> None:
    if _on_interrupt is None:
        signal.raise_signal(signal.SIGINT)
    else:
        _on_interrupt()


class without_exit(Coroutine[Any, Any, T]):  # noqa: N801 (used as a function)
    """Wraps a task's outermost coroutine, so that only ordinary errors end the task.

    CancelledError keeps its meaning. StopAsyncIteration is converted, because it would end an iteration.
    """

    __slots__ = ("_name", "_work")

    def __init__(self, work: Coroutine[Any, Any, T], name: str) -> None:
        self._work = work
        self._name = name

    def send(self, value: Any, /) -> Any:
        try:
            return self._work.send(value)
        except (StopIteration, StopAsyncIteration, asyncio.CancelledError):
            raise
        except BaseException as error:
            return self._end(error)

    def throw(self, *error: Any) -> Any:
        try:
            return self._work.throw(*error)
        except (StopIteration, StopAsyncIteration, asyncio.CancelledError):
            raise
        except BaseException as found:
            return self._end(found)

    def _end(self, error: BaseException) -> NoReturn:
        plain = plain_error(error, self._name)
        if plain is error:
            raise error
        raise plain from error

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Any:
        return self._work.__await__()


class contained:  # noqa: N801 (used as a function)
    """Let only ordinary errors leave a block of user code: `with contained("the check of a setting"): check(value)`.

    The block may await. Three exceptions pass unchanged: a cancellation of the task that runs the block; the
    GeneratorExit of a coroutine or generator that is closed outside this task; and Ctrl-C in the main thread without a
    loop, which the program has to handle. A GeneratorExit of a coroutine that its own task closes cannot be
    distinguished from a GeneratorExit raised by user code, and becomes an error.
    """

    __slots__ = ("_name", "_task")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._task = _current_task()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self._is_meant(error):
            return
        plain = plain_error(error, self._name)
        if plain is not error:
            raise plain from error

    def _is_meant(self, error: BaseException) -> bool:
        """Return whether an exception is a cancellation of the block's task or the closing of its coroutine."""
        if isinstance(error, asyncio.CancelledError):
            return self._task is not None and self._task.cancelling() > 0
        return isinstance(error, GeneratorExit) and _current_task() is not self._task


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _current_task() -> Any:
    loop = _running_loop()
    return None if loop is None else asyncio.current_task(loop)
