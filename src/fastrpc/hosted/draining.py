"""The drain of a call's connection, as a future for handlers that wait."""

import asyncio
from types import TracebackType

from fastrpc._core.calls.call import current_call

__all__ = ["draining"]


def draining() -> "_Drain":
    """Return a context manager with a future that is done once the connection of the current call drains."""
    return _Drain()


class _Drain:
    """A context manager with a future that is done once the connection of the current call drains."""

    __slots__ = ("_drain", "_draining")

    def __enter__(self) -> asyncio.Future[None]:
        self._drain: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._draining = current_call().draining
        self._draining.notify(self._end)
        return self._drain

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._draining.forget(self._end)
        self._drain.cancel()

    def _end(self) -> None:
        if not self._drain.done():
            self._drain.set_result(None)
