"""The call of a stream of either client, and the attempt whose messages the stream takes."""

from typing import TYPE_CHECKING, Any

from fastrpc.peers.outcomes import metadata_blocks

if TYPE_CHECKING:
    from fastrpc._core.client.client_stream import ClientStream
else:
    # The compiled class is another base of a stream.
    ClientStream = object

__all__ = ["StreamCall"]


class StreamCall(ClientStream):
    """The part of a stream that reads its call and its attempt."""

    def _start_clock(self) -> None:
        """Give the call its deadline.

        Raises:
            DeadlineExceededError: no time is left for the call.
        """
        self.origin._start_clock()

    @property
    def _attempt_failure(self) -> BaseException | None:
        """The error of the attempt, which is never raised; None without one."""
        return None if self._attempt is None else self._attempt._failure

    def _count_end(self, error: BaseException | None) -> None:
        """Count the attempt, now that its messages were read or are no longer wanted."""
        if self._attempt is not None:
            self._attempt._count_end(error)

    # For its runner, and for calls of gRPC

    def metadata_blocks(self) -> tuple[bytes, bytes]:
        """Return the encoded metadata of the begin and of the end."""
        head, trailing = metadata_blocks(self._attempt)
        return self._first_block or head, trailing

    def adopt_attempt(self) -> bool:
        """Give the call the results of the last attempt; return whether one was made."""
        attempt = self._attempt
        if attempt is not None:
            self.origin._adopt(attempt)
        return attempt is not None

    def answer_of_attempt(self) -> Any:
        """Return the answer of a method that streams its input only, as interceptors get it; None for other methods."""
        if self.gives_stream or self._attempt is None:
            return None
        return self._attempt._answer()
