from collections.abc import Iterator
from logging import Logger
from typing import Any, TypeVar

from fastrpc._core.calling.blocking_stream_call import BlockingChannel, BlockingStreamCall
from fastrpc._core.calling.caller_view import ViewOptions
from fastrpc._core.calls.call import Route
from fastrpc._core.payload.metadata import Metadata

_E = TypeVar("_E", bound=BaseException | None)

logger: Logger

class BlockingCalledStream(BlockingChannel):
    """The messages of a call of a `SyncClient`.

    Args:
        options: those of the client or view.
        hash_key: what the call is placed by, or None.
        route: the method.
        args, kwargs: its arguments, without the stream.
    """

    #: Whether an iterable is sent, so that nobody else may send.
    is_fed: bool

    def __init__(
        self,
        options: ViewOptions,
        hash_key: str | bytes | int | None,
        route: Route,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None: ...
    def __del__(self) -> None: ...
    @property
    def origin(self) -> BlockingStreamCall:
        """The call as interceptors see it."""

    @property
    def takes_stream(self) -> bool: ...
    @property
    def gives_stream(self) -> bool: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    def receive(self) -> Any:
        """Return the next message; of a method that streams its input only, the one answer."""

    def receive_many(self, limit: int = 4096) -> list[Any]:  # type: ignore[override]
        """Return the messages that are there, at least one and at most `limit`."""

    def send(self, message: Any, /) -> None:
        """Send a message, as soon as the server's window has room for it."""

    def end(self) -> None:
        """Say that nothing more will be sent; the server may go on answering."""

    # What whoever runs it does

    def begin(self) -> None:
        """Start the call, if it did not begin yet."""

    def settle_attempt(self) -> None:
        """The attempt ended: make another one, or end the stream."""

    def fail(self, error: BaseException) -> None:
        """End the stream from this side: the server is told, messages that are there come first."""

    def _receive_answer(self) -> Any: ...
    def _set_idle(self, seconds: float) -> None:
        """Let one wait take so many seconds, 0: any."""

    def _set_source(self, source: Iterator[Any]) -> None:
        """Have an iterator whose messages are sent by whoever receives."""

    def _drop_source(self) -> None:
        """Send no more of the iterator. A generator of which messages were taken is closed, what else there is left."""

    def _kept(self, error: _E) -> _E:
        """Return an error like this one: a stream keeps none that is raised, which would hold the stream."""

    def _again(self, error: _E) -> _E:
        """Return an error like the one that is kept, to be raised."""

    def _end(self, error: BaseException | None) -> None:
        """Let messages that are there be taken, then raise the error; None is a clean end."""

    def _end_sending(self, error: BaseException | None) -> None:
        """Tell senders that nothing can be sent any more."""

    def _cancel_attempt(self, error: BaseException) -> None:
        """End the attempt that is under way; the server is told."""

    def _drop(self, error: BaseException | None) -> None:
        """Drop the messages that are there; everybody who waits gets the error."""

    def _await_messages(self) -> None:
        """Return once a message is there; raise what lies behind the last one. Messages of ours are sent meanwhile."""

    def _await_sign(self) -> None:
        """Return once the server showed a sign of this attempt, or it ended. Messages of ours are sent meanwhile."""

    def _await_sign_of_attempt(self) -> None:
        """As `_await_sign`, for whoever receives already."""

    @property
    def _attempt(self) -> BlockingStreamCall | None:
        """The attempt it takes messages of, or took last; None before there is one."""

    @property
    def _first_metadata(self) -> Metadata | None:
        """The initial metadata, or None as long as neither HEAD nor a message came."""
