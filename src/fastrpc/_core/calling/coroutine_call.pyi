from collections.abc import Awaitable, Generator
from types import TracebackType
from typing import Any

from fastrpc._core.calling.pending_call import PendingCall

class CoroutineCall(PendingCall):
    """The coroutine face of a call, or of a batch of them: nothing is sent before the first step."""

    cr_running: bool
    cr_frame: None
    cr_code: None

    @property
    def cr_await(self) -> Any:
        """The awaited object, or None."""

    @property
    def draining(self) -> Awaitable[Any]:
        """Awaitable that is never done on a client; on a server it is done once the server drains."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Generator[Any, Any, Any]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any:
        """Take one step, as a coroutine does."""

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
    ) -> Any:
        """Raise an exception where the call waits: the handler is cancelled, the exception propagates."""

    def close(self) -> None:
        """End without a result: a call in flight is cancelled on the server."""
