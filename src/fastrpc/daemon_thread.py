"""Work in a daemon thread, for which a program does not wait at its exit."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from fastrpc.user_code import as_error

__all__ = ["in_daemon_thread"]

T = TypeVar("T")


async def in_daemon_thread(name: str, work: Callable[[], T]) -> T:
    """Return the result of work in a new thread of this name. After a cancellation the thread continues.

    At exit Python waits for the threads of executors, so work that hangs there would keep the program running.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def succeed(result: T) -> None:
        if not done.done():
            done.set_result(result)

    def fail(error: Exception) -> None:
        if not done.done():
            done.set_exception(error)

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            tell(fail, as_error(error, name))
        else:
            tell(succeed, result)

    def tell(settle: Callable[[T], None] | Callable[[Exception], None], outcome: object) -> None:
        try:
            loop.call_soon_threadsafe(settle, outcome)  # type: ignore[arg-type]
        except RuntimeError:
            # The loop is closed, so no task waits any more.
            return

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
