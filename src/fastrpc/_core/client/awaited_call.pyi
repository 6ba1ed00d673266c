from asyncio import Future
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, final

from fastrpc._core.client.client_call import ClientCall
from fastrpc._core.client.client_stream import ClientStream
from fastrpc.compressors.base import Compressor
from fastrpc.errors import DeadlineExceededError, EncodeError

@final
class AwaitedCall(ClientCall):
    """A call that a task awaits: nothing is sent before the first step."""

    cr_running: bool
    cr_frame: None
    cr_code: None

    @property
    def cr_await(self) -> Any:
        """The object it waits on, or None."""

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
        """Raise an exception at the await of the call: the handler is cancelled, and the exception propagates."""

    def close(self) -> None:
        """End without a result: a call under way is cancelled on the server."""
    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait, in an interceptor."""

    # For calls that begin as they are made

    def _start(self, rest: Callable[[], object]) -> Future[None] | None:
        """Send the request now, as a task that awaits it would.

        Args:
            rest: called by the loop if the answer needs more work, such as a retry: a task has to await the call
                then, and the future is left as it is.

        Returns:
            The future that is done once `_take` has the answer, which `close` cancels; None: nothing is sent, as
            there is work to do before, and a task has to await the call.

        Raises:
            FastRPCError: as if it were awaited.
        """

    def _take(self) -> Any:
        """Return the answer to a call that `_start` sent, once its future is done.

        Raises:
            DecodeError: the answer does not fit the method's annotation.
        """

    # For the runner

    @property
    def _streamed(self) -> tuple[tuple[Any, ...], dict[str, Any] | None] | None:
        """The positional and keyword arguments if one of them is a stream of messages, else None."""

    def _finish_unpacked(self) -> Any:
        """Return the result of the answer, now that it is decompressed."""

    def _await_output(self, session: Any, future: Future[None]) -> bool:
        """Have a future completed once the output of a connection was sent; return whether there is any output."""

    def _attempt_on(self, session: Any, number: int) -> AwaitedCall:
        """Return attempt `number`, a coroutine; for a stream, an attempt for `_begin`. The call may run from now on."""

    @property
    def _to_pack(self) -> tuple[Compressor, bytes]:
        """The compressor and the encoded arguments, which are to be compressed in slices."""

    def _stream_to_pack(self) -> tuple[Compressor, bytes] | None:
        """Return `_to_pack` of the attempt of a stream; None if its arguments are compressed as it begins."""

    def _not_packed(self, error: Exception) -> DeadlineExceededError | EncodeError:
        """Return the error of an attempt whose arguments were not compressed in time, or failed to be compressed."""

    def _take_packed(self, payload: bytes, is_smaller: bool) -> None:
        """Take the arguments of a stream in their compressed form.

        Raises:
            UnavailableError: its connection takes no more calls.
        """

    def _with_packed(self, payload: bytes, is_smaller: bool) -> AwaitedCall:
        """Return the attempt that sends the compressed arguments.

        Raises:
            UnavailableError: its connection takes no more calls.
        """

    def _begin(self, stream: ClientStream, sign: Any = None, pick: Any = None) -> None:
        """Send the attempt; `sign`, a future, is done at the first sign of the server."""

    def _give_up(self, error: BaseException | None = None) -> None:
        """End the attempt unless it is over: it is no longer wanted."""

    @property
    def _is_over(self) -> bool:
        """Whether the attempt ended, by its answer or otherwise."""

    @property
    def _is_chosen(self) -> bool:
        """Whether its stream takes its messages."""
