from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import final

from fastrpc._core.loop.handler_task import HandlerTask

@final
class TaskPool:
    """Keep up to 64 ended tasks of one loop for the next calls."""

    loop: AbstractEventLoop

    def __init__(
        self, loop: AbstractEventLoop, factory: Callable[[AbstractEventLoop], HandlerTask] = ...
    ) -> None: ...
    def __len__(self) -> int: ...
    def acquire(self) -> HandlerTask:
        """Return an idle task without other references; a new one if the pool has no such task."""

    def release(self, task: HandlerTask) -> bool:
        """Take back a task that ended, and return whether it will be used again.

        The caller must hold the only reference, which is possible in C alone, and forget it. If others hold
        one too, or a weak one, or set an attribute, the task stays as it ended and the pool drops it.
        """
