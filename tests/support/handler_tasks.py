"""Loops of several kinds, and handler tasks begun on them as a session does: from a plain callback."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from typing import Any, TypeVar

import uvloop

from fastrpc_harness.driven_task import DrivenTask

T = TypeVar("T")


LOOP_FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}

if sys.version_info >= (3, 12):

    def eager_loop() -> asyncio.AbstractEventLoop:
        """Return an asyncio loop on which every task runs its first step at once."""
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    LOOP_FACTORIES["eager"] = eager_loop


def new_loop(kind: str) -> Iterator[asyncio.AbstractEventLoop]:
    """Yield a loop of that kind and close it: the body of a fixture."""
    loop = LOOP_FACTORIES[kind]()
    yield loop
    loop.close()


async def outside_tasks(function: Callable[..., T], *arguments: Any) -> T:
    """Call `function` from a plain callback of the running loop and return its result."""
    loop = asyncio.get_running_loop()
    called: asyncio.Future[T] = loop.create_future()

    def call() -> None:
        try:
            called.set_result(function(*arguments))
        except Exception as error:
            called.set_exception(error)

    loop.call_soon(call)
    return await called


async def begin(coroutine: Coroutine[Any, Any, Any], context: Context | None = None) -> DrivenTask:
    """Run the first step of `coroutine` in a new task and return the task."""
    task = DrivenTask(asyncio.get_running_loop())
    await outside_tasks(task.run_first_step, coroutine, context)
    return task


async def handle(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` in a handler task to its end; return its value or raise its exception."""
    result: T = await (await begin(coroutine))
    return result
