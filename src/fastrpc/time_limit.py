"""A timeout for a block, which also works in a task that is being cancelled."""

import asyncio
import sys
from contextlib import AbstractAsyncContextManager
from types import TracebackType

__all__ = ["time_limit"]

#: In earlier versions, if no time was left in a cancelled task, `asyncio.timeout` raised CancelledError, so that code
#: after the block, such as a kill, did not run.
_IS_RELIABLE = sys.version_info >= (3, 11, 4)


def time_limit(seconds: float | None) -> AbstractAsyncContextManager[asyncio.Timeout]:
    """Return `asyncio.timeout(seconds)` with the behaviour of CPython 3.11.4.

    Raises:
        TimeoutError: raised by the block at its end, if its time was over.
    """
    return asyncio.timeout(seconds) if _IS_RELIABLE else _TimeLimit(seconds)


class _TimeLimit:
    """A timeout that ignores cancellations from before its block."""

    def __init__(self, seconds: float | None) -> None:
        self._scope = asyncio.timeout(seconds)
        self._cancelling = 0

    async def __aenter__(self) -> asyncio.Timeout:
        self._cancelling = _cancelling()
        return await self._scope.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.__aexit__(kind, error, trace)
        is_ours = self._scope.expired() and _cancelling() <= self._cancelling
        if is_ours and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error


def _cancelling() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
