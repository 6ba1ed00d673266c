from collections.abc import Iterable, Iterator
from logging import Logger
from typing import Any

from fastrpc._core.client.blocking_call import BlockingCall
from fastrpc._core.client.client_stream import ClientStream

logger: Logger

class BlockingCalledStream(ClientStream):
    """The messages of a call of a `SyncClient`."""

    def __del__(self) -> None: ...
    @property
    def attempt_ended(self) -> bool:
        """Whether the attempt ended, well or not."""

    @property
    def _is_waited_for(self) -> bool:
        """Whether a thread waits for a message, or for room to send."""

    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    def receive(self) -> Any:
        """Return the next message; of a method that streams its input only, the one answer."""

    def receive_many(self, limit: int = 4096) -> list[Any]:  # type: ignore[override]
        """Return the messages that are there, at least one and at most `limit`."""

    def send(self, message: Any, /) -> None:
        """Send a message, as soon as the server's window has room for it."""

    def send_many(self, messages: Iterable[Any], /) -> None:
        """Send messages, those that are there already in few writes; waits for room as `send` does."""

    def end(self) -> None:
        """Say that nothing more will be sent; the server may go on answering."""

    # Done by its runner

    def begin(self) -> None:
        """Start the call, if it did not begin yet."""

    def settle_attempt(self) -> None:
        """The attempt ended: make another one, or end the stream."""

    def fail(self, error: BaseException) -> None:
        """End the stream from this side: the server is told, messages that are there come first."""

    def _receive_answer(self) -> Any: ...
    def _set_idle(self, seconds: float) -> None:
        """Let one wait take so many seconds, 0: any."""

    def _set_source(self, messages: Iterable[Any]) -> None:
        """Have an iterable whose messages the thread that receives sends; several at once if they are there already."""

    def _drop_source(self) -> None:
        """Send no more of the iterator. A generator of which messages were taken is closed, what else there is left."""

    def _cancel_attempt(self, error: BaseException) -> None:
        """End the attempt that is under way; the server is told."""

    def _drop(self, error: BaseException | None) -> None:
        """Drop the messages that are there; everybody who waits gets the error."""

    def _await_messages(self) -> None:
        """Return once a message is there; raise what lies behind the last one. Messages of ours are sent meanwhile."""

    def _await_sign(self) -> None:
        """Return once the server showed a sign of this attempt, or it ended. Messages of ours are sent meanwhile."""

    def _await_sign_of_attempt(self) -> None:
        """As `_await_sign`, for a thread that receives already."""

    @property
    def _attempt(self) -> BlockingCall | None:
        """The attempt it takes messages of, or took last; None before there is one."""
