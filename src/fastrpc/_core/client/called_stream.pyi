from collections.abc import Coroutine, Generator, Iterable
from logging import Logger
from typing import Any

from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.caller_view import ViewOptions
from fastrpc._core.client.client_call import ClientCall
from fastrpc._core.client.client_stream import ClientStream
from fastrpc._core.loop.loop_state import LoopState
from fastrpc.compressors.base import Compressor
from fastrpc.errors import FastRPCError

logger: Logger
FEED_FAILED: str

class CalledStream(ClientStream):
    """The messages of a client's call, for tasks."""

    #: Whether the end of the attempt is not yet the end of the stream: interceptors stand around the call.
    is_intercepted: bool

    def __init__(
        self,
        options: ViewOptions,
        hash_key: str | bytes | int | None,
        route: MethodRoute,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None: ...
    def __del__(self) -> None: ...
    def __anext__(self) -> Coroutine[Any, Any, Any]: ...
    def receive(self) -> Coroutine[Any, Any, Any]:
        """Return the next message; for a method that streams its input only, return its answer."""

    def receive_many(self, limit: int = 4096) -> Coroutine[Any, Any, list[Any]]:
        """Return the messages that have arrived, at least one and at most `limit`."""

    async def send(self, message: Any, /) -> None:
        """Send a message, as soon as the server's window has room for it."""

    async def send_many(self, messages: Iterable[Any], /) -> None:
        """Send messages. Messages that exist already share writes. Waits for room as `send` does."""

    async def end(self) -> None:
        """Announce that no more messages are sent. The server may continue to answer."""

    async def begin(self) -> None:
        """Start the call, unless it has begun."""

    # Called by its runner

    def on_sign(self) -> None:
        """Note a sign of the server: a message or the initial metadata."""

    def tries_again(self, error: FastRPCError) -> bool:
        """Return whether another attempt follows after the first one has failed."""

    def unpack_message(
        self, call: ClientCall, payload: bytes, most: int
    ) -> Generator[int | None, None, bytes]:
        """Return a generator that decompresses a message in short steps."""

    def pack_message(self, compressor: Compressor, payload: bytes) -> Any:
        """Begin the compression of a message in slices; `_packed` gets the result, unless it is told to `stop`."""

    def finish(self, error: BaseException | None) -> None:
        """End the stream: its last attempt has ended, or no attempt could be made."""

    def drained(self) -> None:
        """Called after the last received message was taken, if `_tell_drained` has asked for it."""

    def _drop(self, error: BaseException | None) -> None:
        """End the stream now: drop the received messages, and end all waits with the error."""

    def _tell_drained(self) -> None:
        """Call `drained` when no message is left, which may be now."""

    def _drop_messages(self) -> None:
        """Drop the received messages, and let the stream continue."""

    def _set_loop(self, state: LoopState, idle_seconds: float) -> None:
        """Set the loop, and the most seconds of a wait for a message; 0: no limit."""

    @property
    def _attempt(self) -> AwaitedCall | None:
        """The attempt whose messages it takes, or took last; None before the first."""

    def _message(self) -> Coroutine[Any, Any, Any]: ...
    def _messages(self, limit: int) -> Coroutine[Any, Any, list[Any]]: ...

async def feed(call: AwaitedCall, messages: Any) -> None:
    """Send every message of an iterable, then the end; an exception of the iterable ends the stream and is its error.

    A generator is closed at the end, an iterable of another kind is left to the program.
    """

async def close_fed(call: AwaitedCall, iterator: Any) -> None: ...
