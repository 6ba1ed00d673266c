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
    """A call that a task awaits. The first step sends it."""

    cr_running: bool
    cr_frame: None
    cr_code: None

    @property
    def cr_await(self) -> Any:
        """The future or coroutine that the call waits on, or None."""

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
        """Raise an exception where the task awaits the call: the handler is cancelled, and the exception propagates."""

    def close(self) -> None:
        """End without a result; cancel a running call on the server."""
    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Sleep, for an interceptor."""

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
        """Return the result of an answer whose decompression has ended."""

    def _await_output(self, session: Any, future: Future[None]) -> bool:
        """Complete a future when all output of a connection is sent; return False if there is no output."""

    def _attempt_on(self, session: Any, number: int) -> AwaitedCall:
        """Return attempt `number` as a coroutine or, for a stream, as the argument of `_begin`. It may run now."""

    @property
    def _to_pack(self) -> tuple[Compressor, bytes]:
        """The compressor and the encoded arguments, which are to be compressed in slices."""

    def _stream_to_pack(self) -> tuple[Compressor, bytes] | None:
        """Return what `_to_pack` returns, for the attempt of a stream; None if `_begin` compresses its arguments."""

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
        """Cancel the attempt, which is no longer wanted, unless it has ended."""

    @property
    def _is_over(self) -> bool:
        """Whether the attempt has ended, with an answer or without one."""

    @property
    def _is_chosen(self) -> bool:
        """Whether the stream uses this attempt and receives its messages."""
