from typing import Any, Final

from fastrpc._core.calls.call import Call
from fastrpc.errors import DecodeError
from fastrpc.status import Status

#: Whether the handler may have run, by the number on the wire.
OUTCOMES: Final[tuple[str, ...]]

class PendingCall(Call):
    """An own call that waits for its answer, in a task or a thread."""

    #: Whether an attempt may have reached a handler; kept by those who make several.
    _may_have_run: bool

    @property
    def _seconds(self) -> float:
        """The seconds the call took, or has taken so far."""

    @property
    def _elapsed(self) -> float:
        """The seconds since the call began, across all attempts."""

    @property
    def cancelled(self) -> bool:
        """Whether the caller cancelled it or its deadline passed."""

    @property
    def is_idempotent(self) -> bool:
        """Whether the server may run it twice."""

    @property
    def inside_retry(self) -> bool:
        """Whether a handler that serves a retry made it: then it is not retried itself."""

    @property
    def status(self) -> Status | None:
        """Its status; set before an interceptor's `proceed` returns."""

    @property
    def error(self) -> BaseException | None:
        """Its error, or None."""

    @property
    def _packed_answer(self) -> tuple[Any, bytes]:
        """The compressor and the payload of an answer that is not decompressed yet."""

    def _take_unpacked(self, payload: bytes) -> None:
        """Take the decompressed payload as the answer."""

    def _take_failure(self, error: Exception) -> None:
        """Take an error in place of an answer that cannot be decompressed."""

    def _unpacking_failed(self, error: DecodeError) -> DecodeError:
        """Return the error of a decompression, with the method it concerns."""

    def _count_undecoded(self, error: DecodeError) -> None:
        """Count a call as failed if its answer has status OK but cannot be decoded."""

    def _count_unsent(self, status: Status) -> None:
        """Count a call that failed before an attempt could be made."""

    def _note_outcome(self, status: Status | None, error: BaseException | None) -> None:
        """Record the outcome of the call for the interceptors around it."""

def decode_details(payload: bytes, codec: int) -> Any:
    """Return the details of an error: a plain value of the call's codec, or its bytes when they hold none."""
