"""Background tasks of a registry, and the logging of their failures."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator
from typing import Any

from fastrpc.cancelling import cancelled

__all__ = ["RegistryTasks", "TaskFailures"]

logger = logging.getLogger("fastrpc.registry")


class RegistryTasks:
    """Background tasks, which run until the registry stops."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the background."""
        self._tasks.append(asyncio.create_task(work))

    async def stop(self) -> None:
        """Cancel all tasks; log the errors of tasks that ended before."""
        await cancelled(self._tasks)
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for failure in outcomes:
            if failure is not None and not isinstance(failure, asyncio.CancelledError):
                logger.error("a background task of the registry ended early", exc_info=failure)


class TaskFailures:
    """Logs the errors of a background task, which continues: in a series of errors, only the first of each kind."""

    def __init__(self, effect: str) -> None:
        self._effect = effect
        self._logged: set[type[Exception]] = set()

    @contextlib.contextmanager
    def logged(self) -> Iterator[None]:
        """Log an error of the block instead of raising it."""
        try:
            yield
        except Exception as error:
            if type(error) not in self._logged:
                self._logged.add(type(error))
                logger.error("the registry failed and tries again, %s", self._effect, exc_info=error)
        else:
            self._logged.clear()
