"""The outcome of a stream, of `Client` or `SyncClient`: metadata, the one answer, reply, failure."""

from typing import TYPE_CHECKING, Any

from fastrpc._core.client.call_errors import mark_own_call
from fastrpc._core.payload.metadata import Metadata
from fastrpc.errors import CallError, FastRPCError, StreamEndedError
from fastrpc.peers.outcomes import metadata_blocks, reply_of
from fastrpc.rpc.reply import Reply
from fastrpc.status import Status

if TYPE_CHECKING:
    from fastrpc._core.client.client_stream import ClientStream
else:
    # At run time the classes of streams have the compiled class as a second base.
    ClientStream = object

__all__ = ["NO_VALUE", "StreamOutcome"]

#: The value that means "no answer", because None may be an answer.
NO_VALUE: Any = object()


class StreamOutcome(ClientStream):
    """The outcome of a stream. The methods that wait are in another base class of the streams."""

    # Whether the stream ended.
    _is_over = False
    # The error that ended the stream. The stream never raises this object, only copies of it.
    _failure: BaseException | None = None
    _metadata: Metadata | None = None
    _value: Any = NO_VALUE
    _is_taken = False

    def _keep_outcome(self, error: BaseException | None, value: Any) -> None:
        """Record the end of the stream, with its error and the value that its interceptors returned."""
        self._is_over = True
        self._failure = self._kept(error)
        self._value = value
        if self.origin.error is not None:
            # The program gets this error now. The stream keeps a copy, because the error's traceback may refer to the
            # stream.
            self.origin._note_outcome(self.origin.status, self._kept(self.origin.error))

    def _answer(self) -> Any:
        """Return the one answer to a stream, or None; raise the error of a failed stream."""
        self._check_failure()
        if self._value is NO_VALUE and self._attempt is not None and not self.gives_stream:
            try:
                self._value = self.answer_of_attempt()
            except FastRPCError as error:
                mark_own_call(error)
                self._failure = self._kept(error)
                raise
        return None if self._value is NO_VALUE else self._value

    def _answer_once(self) -> Any:
        value = self._answer()
        if self._is_taken:
            raise StreamEndedError(f"{self.origin.method}: the one answer was received already")
        self._is_taken = True
        return value

    def _check_failure(self) -> None:
        if self._failure is not None:
            raise self._again(self._failure)

    # Its call and its attempt

    def _start_clock(self) -> None:
        """Set the call's deadline.

        Raises:
            DeadlineExceededError: no time is left for the call.
        """
        self.origin._start_clock()

    @property
    def _attempt_failure(self) -> BaseException | None:
        """The attempt's error, or None. It is never raised itself."""
        return None if self._attempt is None else self._attempt._failure

    def _count_end(self, error: BaseException | None) -> None:
        """Count the attempt after its messages were read or dropped."""
        if self._attempt is not None:
            self._attempt._count_end(error)

    # For the stream's runner, and for gRPC calls

    @property
    def is_over(self) -> bool:
        """Whether the stream ended: all messages were read, or are not wanted any more."""
        return self._is_over

    def metadata_blocks(self) -> tuple[bytes, bytes]:
        """Return the encoded initial and trailing metadata."""
        head, trailing = metadata_blocks(self._attempt)
        return self._first_block or head, trailing

    @property
    def needs_no_attempt(self) -> bool:
        """Whether the stream has chosen an attempt, has failed, or has ended."""
        return self._is_over or self._failure is not None or self.is_chosen

    def check_wanted(self) -> None:
        """Raise the error of a stream that failed or was cancelled."""
        self._check_failure()

    def adopt_attempt(self) -> bool:
        """Copy the results of the last attempt to the call. Return whether there was an attempt."""
        attempt = self._attempt
        if attempt is not None:
            self.origin._adopt(attempt)
        return attempt is not None

    def answer_of_attempt(self) -> Any:
        """Return the value that interceptors get: the answer of a method that streams only its input, else None."""
        if self.gives_stream or self._attempt is None:
            return None
        return self._attempt._answer()

    def _known_metadata(self, waiting: str) -> Metadata:
        """Return the initial metadata. If it is missing, the error suggests the expression `waiting` to wait for it."""
        if self._metadata is None:
            self._metadata = self._first_metadata
        if self._metadata is None and self._is_over and self._failure is None:
            self._metadata = Metadata()
        if self._metadata is None:
            raise LookupError(f"{self.origin.method}: no metadata came yet; `{waiting}` waits for it")
        return self._metadata

    def _made_reply(self) -> Reply[Any]:
        """Return the reply of a stream that ended."""
        self._check_failure()
        return reply_of(self.origin, self._answer(), received=b"")

    def _cancelled(self) -> CallError:
        error = CallError(
            Status.CANCELLED, f"{self.origin.method}: the stream was cancelled here", processed="unknown"
        )
        mark_own_call(error)
        return error
