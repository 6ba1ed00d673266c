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
        """Return the next message; for a method that streams its input only, return its answer."""

    def receive_many(self, limit: int = 4096) -> list[Any]:  # type: ignore[override]
        """Return the messages that have arrived, at least one and at most `limit`."""

    def send(self, message: Any, /) -> None:
        """Send a message, as soon as the server's window has room for it."""

    def send_many(self, messages: Iterable[Any], /) -> None:
        """Send messages. Messages that exist already share writes. Waits for room as `send` does."""

    def end(self) -> None:
        """Announce that no more messages are sent. The server may continue to answer."""

    # Done by its runner

    def begin(self) -> None:
        """Start the call, unless it has begun."""

    def settle_attempt(self) -> None:
        """Start another attempt after an ended one, or end the stream."""

    def fail(self, error: BaseException) -> None:
        """End the stream from this side and notify the server; received messages are returned before the error."""

    def _receive_answer(self) -> Any: ...
    def _set_idle(self, seconds: float) -> None:
        """Limit each wait to this number of seconds; 0 means no limit."""

    def _set_source(self, messages: Iterable[Any]) -> None:
        """Set an iterable whose messages the receiving thread sends; messages of a list or tuple share a write."""

    def _drop_source(self) -> None:
        """Stop sending the iterator's messages. A generator is closed, another iterator is left alone."""

    def _cancel_attempt(self, error: BaseException) -> None:
        """Cancel the attempt in progress, and notify the server."""

    def _drop(self, error: BaseException | None) -> None:
        """Drop the messages that have come; all waits get the error."""

    def _await_messages(self) -> None:
        """Return once a message has come; raise the error after the last one. Messages of ours are sent meanwhile."""

    def _await_sign(self) -> None:
        """Wait for the server's first sign of this attempt, or for its end; send messages meanwhile."""

    def _await_sign_of_attempt(self) -> None:
        """Wait as `_await_sign` does, in a thread that is already receiving."""

    @property
    def _attempt(self) -> BlockingCall | None:
        """The attempt whose messages it takes, or took last; None before the first."""
