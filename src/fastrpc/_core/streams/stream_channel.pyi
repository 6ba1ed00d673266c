from collections.abc import AsyncIterator, Coroutine
from typing import Any, final

from fastrpc._core.base.timer_wheel import Timed
from fastrpc._core.calls.call import Call

class StreamChannel(Timed):
    """The messages of one stream, in both directions.

    An asynchronous iterator of what the other side sends. One task receives and one sends at a time.
    """

    @property
    def call(self) -> Call: ...
    @property
    def waiting(self) -> int:
        """Messages received and not taken."""

    @property
    def input_ended(self) -> bool:
        """Whether no further message will come."""

    @property
    def output_ended(self) -> bool:
        """Whether nothing more can be sent."""

    @property
    def is_closed(self) -> bool: ...
    def _packed(self, payload: bytes, is_smaller: bool, error: BaseException | None) -> None:
        """Send the compressed message; end the output if the compression failed."""

    def __aiter__(self) -> AsyncIterator[Any]: ...
    def __anext__(self) -> Coroutine[Any, Any, Any]: ...
    def receive(self) -> Coroutine[Any, Any, Any]:
        """Return the next message; after the last one `StreamEndedError` is raised, or the error of the stream."""

    def receive_many(self, limit: int = 4096) -> Coroutine[Any, Any, list[Any]]:
        """Return the messages that have come, at least one and at most `limit`; it waits for the first one."""

@final
class Receiving(Coroutine[Any, Any, Any]):
    """The awaitable of one message, or of all that have come: it suspends only if none has come."""

    cr_running: bool
    cr_frame: None
    cr_code: None

    def __await__(self) -> Receiving: ...
    def __iter__(self) -> Receiving: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any:
        """Take one step, as a coroutine does."""

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        """Raise an exception in the waiting function. No message is lost."""

    def close(self) -> None:
        """End without a message."""

    @property
    def cr_await(self) -> Any:
        """The future that the task waits for, or None."""
