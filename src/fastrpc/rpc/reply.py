"""An answer with what came along: what `request` returns."""

from typing import Generic, TypeVar

from fastrpc._core.payload.metadata import Metadata
from fastrpc.endpoint import Endpoint

__all__ = ["Reply"]

T_co = TypeVar("T_co", covariant=True)


class Reply(Generic[T_co]):
    """What a method returned, and how the call went."""

    __slots__ = ("_value", "attempts", "endpoint", "metadata", "seconds")

    #: What the handler put into `current_call().reply_metadata`.
    metadata: Metadata
    #: Who answered.
    endpoint: Endpoint
    #: How many tries it took: 1 when the first one answered.
    attempts: int
    #: How long the call took, all attempts together.
    seconds: float

    def __init__(
        self, value: T_co, *, metadata: Metadata, endpoint: Endpoint, attempts: int, seconds: float
    ) -> None:
        self._value = value
        self.metadata = metadata
        self.endpoint = endpoint
        self.attempts = attempts
        self.seconds = seconds

    # A property cannot be assigned to, so that a Reply[bool] may stand where a Reply[int] is expected.
    @property
    def value(self) -> T_co:
        """What the method returned."""
        return self._value

    def __repr__(self) -> str:
        return (
            f"Reply({self._value!r}, metadata={dict(self.metadata.entries)!r}, endpoint={str(self.endpoint)!r},"
            f" attempts={self.attempts}, seconds={self.seconds:.6f})"
        )
