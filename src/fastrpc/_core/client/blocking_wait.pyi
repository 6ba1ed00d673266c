from types import TracebackType
from typing import Self, final

@final
class Wait:
    """The events that one thread of a blocking client waits for, and the lock it sleeps at. For compiled code only."""

@final
class ReentryGuard:
    """The record of threads that wait inside one blocking client, so that a call made there meanwhile is refused.

    A signal handler or a finalizer runs in a thread that is stopped inside the client. A call made there would wait for
    work that only the stopped call can do. `with` marks a block as such a wait.
    """

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def refuse(self) -> None:
        """Raise RuntimeError if this thread is already waiting in the client."""
