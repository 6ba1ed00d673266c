from collections.abc import Callable
from typing import Any, Final

from fastrpc._core.calls.call import Call
from fastrpc.endpoint import Endpoint
from fastrpc.errors import DecodeError
from fastrpc.status import Status

#: Whether the handler may have run, by the number on the wire.
OUTCOMES: Final[tuple[str, ...]]

class PendingCall(Call):
    """A call of ours that waits for its answer, whoever waits: a task or a thread."""

    #: Whether an attempt may have reached a handler; kept by those who make several.
    _may_have_run: bool
    #: Is told the number and the endpoint of each attempt that begins.
    _on_attempt: Callable[[int, Endpoint], None] | None

    @property
    def _seconds(self) -> float:
        """How long the call took, or takes already."""

    @property
    def _elapsed(self) -> float:
        """How long ago the call began, whatever its attempts came to."""

    @property
    def cancelled(self) -> bool:
        """Whether the caller gave it up or its time ran out."""

    @property
    def is_idempotent(self) -> bool:
        """Whether the server may run it twice."""

    @property
    def inside_retry(self) -> bool:
        """Whether it is made by a handler that serves a retry: then it is not retried itself."""

    @property
    def status(self) -> Status | None:
        """What became of it; set before an interceptor's `proceed` returns."""

    @property
    def error(self) -> BaseException | None:
        """What it failed with, or None."""

    @property
    def _packed_answer(self) -> tuple[Any, bytes]:
        """The compressor and the payload of an answer that is not decompressed yet."""

    def _take_unpacked(self, payload: bytes) -> None:
        """Have the decompressed payload as the answer."""

    def _take_failure(self, error: Exception) -> None:
        """Have an error in place of the answer, which cannot be decompressed."""

    def _unpacking_failed(self, error: DecodeError) -> DecodeError:
        """Return the error of a decompression, saying whose answer it is about."""

    def _count_undecoded(self, error: DecodeError) -> None:
        """Count a call as failed whose answer came, with status OK, and cannot be decoded."""

    def _count_unsent(self, status: Status) -> None:
        """Count a call that failed before an attempt could be made."""

    def _note_outcome(self, status: Status | None, error: BaseException | None) -> None:
        """Keep what became of the call for the interceptors around it."""

def decode_details(payload: bytes, codec: int) -> Any:
    """Return the details of an error: a plain value, from JSON if the call is in JSON, else msgpack; or their bytes."""
