from types import TracebackType
from typing import Self, final

@final
class ReentryGuard:
    """Track the threads that wait inside one blocking client, to refuse nested calls.

    A signal handler or a finalizer interrupts a thread inside the client. A call that it makes there would wait for the
    interrupted call, and deadlock. `with` marks a block as such a wait.
    """

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def refuse(self) -> None:
        """Raise RuntimeError if this thread waits inside already."""
