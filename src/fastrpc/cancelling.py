"""End tasks that run code of others, which may drop a cancellation."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

__all__ = ["cancelled"]

#: Seconds after which tasks that have not ended are cancelled again. This is more than the longest wait in a cleanup,
#: which a second cancellation would interrupt.
_AGAIN_SECONDS: Final = 6.0


async def cancelled(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks, and wait until all have ended. Their results and errors stay in them.

    The cancellation is repeated, as a client library or a registry of a program may drop it. Before Python 3.12 a
    function of asyncio that waits with a timeout drops a cancellation that arrives together with a result. A task with
    a loop would continue forever.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_SECONDS)
