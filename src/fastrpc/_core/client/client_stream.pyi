from typing import Any, TypeVar, final

from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.client.caller_view import ViewOptions
from fastrpc._core.client.client_call import Streaming
from fastrpc._core.payload.metadata import Metadata
from fastrpc._core.streams.stream_channel import StreamChannel
from fastrpc.errors import EncodeError

_E = TypeVar("_E", bound=BaseException | None)

class ClientStream(StreamChannel):
    """The messages of a call of ours, of either client, and its attempts.

    Args:
        options: the options of the client or view.
        hash_key: the key that places the call, or None.
        route: the method.
        args, kwargs: its arguments, without the stream.
    """

    #: Whether an iterable is sent, so that the program may not send.
    is_fed: bool

    def __init__(
        self,
        options: ViewOptions,
        hash_key: str | bytes | int | None,
        route: MethodRoute,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None: ...
    @property
    def origin(self) -> Any:
        """The call (a ClientCall) as interceptors see it."""

    @property
    def takes_stream(self) -> bool:
        """Whether the program may send."""

    @property
    def gives_stream(self) -> bool:
        """Whether messages come back, or one answer."""

    @property
    def is_open(self) -> bool:
        """Whether an attempt was sent."""

    @property
    def is_chosen(self) -> bool:
        """Whether it takes the messages of one of its attempts."""

    @property
    def has_sign(self) -> bool:
        """Whether a message or the initial metadata came."""

    def _end(self, error: BaseException | None) -> None:
        """End the stream: received messages are still returned, then the error is raised; None means a clean end."""

    def _end_sending(self, error: BaseException | None) -> None:
        """Notify senders that nothing can be sent any more."""

    def _kept(self, error: _E) -> _E:
        """Return an equal error for the stream to keep. A raised error refers to frames, and so to the stream."""

    def _again(self, error: _E) -> _E:
        """Return an error equal to the kept one, to be raised."""

    @property
    def _attempt(self) -> Any:
        """The attempt whose messages it takes or took last; None before the first."""

    @property
    def _window_bytes(self) -> int:
        """The bytes that the server may send before messages are taken; 0 before its REQUEST is written."""

    @property
    def _first_block(self) -> bytes:
        """The encoded initial metadata; b"" if missing or before its arrival."""

    @property
    def _first_metadata(self) -> Metadata | None:
        """The initial metadata; None before HEAD or a message came."""

    def _check_iterable(self, messages: object) -> None:
        """Raise if `messages` is not iterable, or is a text, which would be sent as characters."""

    def _unpackable(self, error: Exception) -> EncodeError:
        """Return the error of a message that cannot be compressed."""

@final
class StreamLink(Streaming):
    """The link from a call to its stream. It passes on the input of the chosen attempt and drops other input."""

@final
class Gathered:
    """Encoded messages that share one write."""
