from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastrpc._core.calls.call import Call, Draining
from fastrpc._core.client.caller_view import ViewOptions
from fastrpc.endpoint import Endpoint
from fastrpc.errors import DecodeError
from fastrpc.status import Status

class Streaming:
    """The state of a streaming call, separate because most calls have none, and the link to its stream."""

class ClientCall(Call):
    """A call of ours, of either client, or one attempt of it."""

    #: Whether an attempt may have reached a handler, since the first one began.
    _may_have_run: bool
    #: Called with the number and the endpoint of each attempt that begins.
    _on_attempt: Callable[[int, Endpoint], None] | None

    @property
    def _options(self) -> ViewOptions:
        """The options of the client or view that made it."""

    @property
    def _selecting_metadata(self) -> Mapping[str, str | bytes] | None:
        """The metadata of the request for selectors, which only read it, or None."""

    @property
    def hash_key(self) -> str | bytes | int | None:
        """The hash key of the call, or None."""

    @property
    def _batch(self) -> Any:
        """The calls of the batch that it stands for (BatchCall), or None."""

    @property
    def _is_attempt(self) -> bool:
        """Whether it is an attempt of another call."""

    @property
    def _is_one_way(self) -> bool:
        """Whether `notify` made it, which has no answer."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The arguments as they were given, without a stream."""

    @property
    def endpoint(self) -> Any:
        """The endpoint of the last attempt, or None."""

    @property
    def retry_policy(self) -> Any:
        """The rules and the budget of its client."""

    @property
    def draining(self) -> Draining:
        """Never done: on the server's side it is done once the server drains."""

    @property
    def _needs_ready(self) -> bool:
        """Whether it waits for the peer's settings."""

    @property
    def _seconds(self) -> float:
        """The seconds that the call took, or has taken so far."""

    @property
    def _elapsed(self) -> float:
        """The seconds since the call began, for all of its attempts."""

    @property
    def cancelled(self) -> bool:
        """Whether the caller gave it up or its time ran out."""

    @property
    def is_idempotent(self) -> bool:
        """Whether the server may run it twice."""

    @property
    def inside_retry(self) -> bool:
        """Whether a handler makes the call while it serves a retry. Such a call is not retried."""

    def wrap_sent(self, function: Callable[[Any], Any]) -> None:
        """Have a function replace each sent message; the first given function is called first.

        Raises:
            RuntimeError: the call has begun.
        """

    def wrap_received(self, function: Callable[[Any], Any]) -> None:
        """Have a function replace each received message; the first given function is called last.

        Raises:
            RuntimeError: the call has begun.
        """

    # For the runner

    def _start_clock(self) -> None:
        """Give the call its options and deadline before any attempt.

        Raises:
            DeadlineExceededError: no time is left.
        """

    def _adopt(self, attempt: ClientCall, may_have_run: bool | None = None) -> None:
        """Take over the results of an attempt; after a failure, also whether a handler may have run in any attempt."""

    def _answer(self) -> Any:
        """Return the one answer of a method that streams its input only."""

    @property
    def _stream(self) -> Any:
        """The stream of this call, or None."""

    def _lose(self) -> None:
        """Record that another attempt was faster; if this attempt is given up, the server gets this as the reason."""

    @property
    def _failure(self) -> BaseException | None:
        """The error of an attempt that is over, or None."""

    @property
    def _packed_answer(self) -> tuple[Any, bytes]:
        """The compressor and the payload of an answer that is not decompressed yet."""

    def _take_unpacked(self, payload: bytes) -> None:
        """Take the decompressed payload as the answer."""

    def _take_failure(self, error: Exception) -> None:
        """Take an error in place of the answer, which cannot be decompressed."""

    def _unpacking_failed(self, error: DecodeError) -> DecodeError:
        """Return the error of a decompression, naming the method of the answer."""

    def _count_end(self, error: BaseException | None) -> None:
        """Count an attempt of a stream that ended, now that its messages were read or are no longer wanted."""

    def _count_undecoded(self, error: DecodeError) -> None:
        """Count a call as failed: its answer came with status OK but cannot be decoded."""

    def _count_unsent(self, status: Status) -> None:
        """Count a call that failed before an attempt could be made."""

def made_by(call: ClientCall) -> Literal["call", "request", "notify"]:
    """Return the verb of the client that made a call: "call", "request" or "notify"."""
