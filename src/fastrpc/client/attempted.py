"""The part of a call that the makers of its attempts use."""

from typing import Any, Protocol

from fastrpc.failmodes.base import AttemptedCall

__all__ = ["Attempted"]


class Attempted(AttemptedCall, Protocol):
    """A call of either client, as its runner holds it; a batch is one call for its members."""

    @property
    def endpoint(self) -> Any:
        """The endpoint of the last attempt, or None."""

    @property
    def elapsed(self) -> float:
        """The seconds since the call began, for all of its attempts."""

    @property
    def needs_ready(self) -> bool:
        """Whether it waits for the peer's settings."""

    @property
    def wants_reply(self) -> bool:
        """Whether its caller gets more than the value."""

    @property
    def members(self) -> Any:
        """The calls of a batch (BatchCall), or None."""

    def start_clock(self) -> None:
        """Give the call its options and deadline before any attempt.

        Raises:
            DeadlineExceededError: no time is left.
        """

    def attempt_on(self, session: Any, number: int, /) -> Any:
        """Return an attempt on a connection."""

    def adopt(self, attempt: Any, /) -> None:
        """Take over the results of an attempt."""

    def lose(self) -> None:
        """Note that another attempt was faster."""

    def count_unsent(self, status: Any, /) -> None:
        """Count a call that failed before an attempt could be made."""
