"""A result with metadata and details of the call, which `request` returns."""

from typing import Generic, TypeVar

from fastrpc._core.payload.metadata import Metadata
from fastrpc.endpoint import Endpoint

__all__ = ["Reply", "received_block"]

T_co = TypeVar("T_co", covariant=True)


class Reply(Generic[T_co]):
    """The result of a method, with details of the call."""

    __slots__ = ("_received", "_value", "attempts", "endpoint", "metadata", "seconds")

    #: The metadata that the handler set in `current_call().reply_metadata`.
    metadata: Metadata
    #: The endpoint that answered.
    endpoint: Endpoint
    #: The number of attempts; 1 if the first attempt was answered.
    attempts: int
    #: The duration of the call in seconds, including all attempts.
    seconds: float

    def __init__(
        self,
        value: T_co,
        *,
        metadata: Metadata,
        endpoint: Endpoint,
        attempts: int,
        seconds: float,
        received: bytes = b"",
    ) -> None:
        self._value = value
        # The raw metadata, including the entries of fastrpc itself.
        self._received = received
        self.metadata = metadata
        self.endpoint = endpoint
        self.attempts = attempts
        self.seconds = seconds

    # A read-only property makes the type covariant, so that a Reply[bool] may be passed for a Reply[int].
    @property
    def value(self) -> T_co:
        """The result of the method."""
        return self._value

    def __repr__(self) -> str:
        return (
            f"Reply({self._value!r}, metadata={dict(self.metadata.entries)!r}, endpoint={str(self.endpoint)!r},"
            f" attempts={self.attempts}, seconds={self.seconds:.6f})"
        )


def received_block(reply: Reply[object]) -> bytes:
    """Return the raw metadata of an answer, including the entries of fastrpc itself; b"" if there are none."""
    return reply._received
