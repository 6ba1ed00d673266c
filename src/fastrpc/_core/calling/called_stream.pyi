from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from fastrpc._core.calling.caller_view import ViewOptions
from fastrpc._core.calling.stream_call import CallerChannel, StreamCall
from fastrpc._core.calls.call import Route
from fastrpc._core.loop.loop_state import LoopState
from fastrpc._core.payload.metadata import Metadata
from fastrpc.compressors.base import Compressor
from fastrpc.errors import FastRPCError

_E = TypeVar("_E", bound=BaseException | None)

IDLE_HINT: str
IDLE_SENDER_HINT: str

class CalledStream(CallerChannel):
    """The messages of a call of ours.

    Args:
        options: those of the client or view.
        hash_key: what the call is placed by, or None.
        route: the method.
        args, kwargs: its arguments, without the stream.
    """

    #: Whether an iterable is sent, so that nobody else may send.
    is_fed: bool
    #: Whether the end of the attempt is not yet the end of the stream: interceptors stand around the call.
    is_intercepted: bool

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
    def origin(self) -> StreamCall:
        """The call as interceptors see it."""

    @property
    def takes_stream(self) -> bool: ...
    @property
    def gives_stream(self) -> bool: ...
    def __anext__(self) -> Coroutine[Any, Any, Any]: ...
    def receive(self) -> Coroutine[Any, Any, Any]:
        """Return the next message; of a method that streams its input only, the one answer."""

    def receive_many(self, limit: int = 4096) -> Coroutine[Any, Any, list[Any]]:
        """Return the messages that are there, at least one and at most `limit`."""

    async def send(self, message: Any, /) -> None:
        """Send a message, as soon as the server's window has room for it."""

    async def end(self) -> None:
        """Say that nothing more will be sent; the server may go on answering."""

    async def begin(self) -> None:
        """Start the call, if it did not begin yet."""

    # What whoever runs it does

    def on_sign(self) -> None:
        """The server showed a sign: a message or the initial metadata."""

    def tries_again(self, error: FastRPCError) -> bool:
        """Return whether another attempt follows the first one, which failed."""

    def unpack_message(
        self, call: StreamCall, payload: bytes, most: int
    ) -> Generator[int | None, None, bytes]:
        """Return a generator that decompresses a message in short steps."""

    def pack_message(self, compressor: Compressor, payload: bytes) -> Any:
        """Begin the compression of a message in slices; `_packed` gets the result, unless it is told to `stop`."""

    def finish(self, error: BaseException | None) -> None:
        """End the stream: its last attempt is over, or none could be made."""

    def drained(self) -> None:
        """The last message was taken of those that are there, as `_tell_drained` asked to be told."""

    def _end(self, error: BaseException | None) -> None:
        """Let messages that are there be taken, then raise the error; None is a clean end."""

    def _end_sending(self, error: BaseException | None) -> None:
        """Tell senders that nothing can be sent any more."""

    def _drop(self, error: BaseException | None) -> None:
        """End the stream at once: messages that are there are dropped, everybody who waits gets the error."""

    def _tell_drained(self) -> None:
        """Have `drained` called once no message is there, which may be now."""

    def _drop_messages(self) -> None:
        """Drop the messages that are there, and let the rest go on."""

    def _kept(self, error: _E) -> _E:
        """Return an error like this one: a stream keeps none that is raised, which would hold the stream."""

    def _again(self, error: _E) -> _E:
        """Return an error like the one that is kept, to be raised."""

    def _set_loop(self, state: LoopState, idle_seconds: float) -> None:
        """Belong to a loop; a wait for a message may take so many seconds, 0: any."""

    @property
    def _attempt(self) -> StreamCall | None:
        """The attempt it takes messages of, or took last; None before there is one."""

    @property
    def _window_bytes(self) -> int:
        """The bytes that the server may send before messages are taken; 0 before its REQUEST is written."""

    @property
    def _first_metadata(self) -> Metadata | None:
        """The initial metadata, or None as long as neither HEAD nor a message came."""

    def _message(self) -> Coroutine[Any, Any, Any]: ...
    def _messages(self, limit: int) -> Coroutine[Any, Any, list[Any]]: ...
