from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, final

from fastrpc._core.loop.handler_task import HandlerTask
from fastrpc._core.loop.loop_state import TaskPool

@final
class DrivenTask(HandlerTask):
    """A handler task that Python code begins, as a session would: for tests and benches."""

    finished_calls: int

    def run_first_step(self, coroutine: Coroutine[Any, Any, Any], context: Context | None = None) -> bool:
        """Begin `coroutine` in `context` or a copy of the current one; return whether it ended at once.

        To be called from a plain callback of the running loop, outside of every task, on a new task.
        """

@final
class TaskDriver:
    """Begin coroutines in pooled tasks and record how they end, as a session would: for tests and benches."""

    pool: TaskPool
    outcomes: list[tuple[Any, BaseException | None]]

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    def start(self, coroutine: Coroutine[Any, Any, Any], context: Context | None = None) -> bool:
        """Begin `coroutine` in a task of the pool; return whether it ended at once."""

    def repeat(self, function: Callable[[], Coroutine[Any, Any, Any]], count: int) -> None:
        """Begin `count` coroutines that never suspend, one after another, in a loop written in C."""

def send_repeatedly(function: Callable[[], Coroutine[Any, Any, Any]], count: int) -> None:
    """Do what `TaskDriver.repeat` does without any task: the floor to compare it with."""
