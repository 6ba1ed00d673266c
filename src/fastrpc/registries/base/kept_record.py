"""The record of one registration, shared by the thread that keeps it and the program that entered it."""

from concurrent.futures import Future

from fastrpc.endpoint import Endpoint
from fastrpc.registries.base.backend import ChangingLease, Lease

__all__ = ["KeptRecord", "RecordChange"]

_AT_ONCE = float("-inf")


class RecordChange:
    """Another record of a registration: its endpoint, and its new lease.

    After the exchange it has the previous endpoint and lease instead.
    """

    def __init__(self, endpoint: Endpoint, lease: Lease) -> None:
        self.endpoint, self.lease = endpoint, lease
        #: Done once the registry has the record, refuses it, or is known to be unreachable.
        self.done: Future[None] = Future()


class KeptRecord:
    """One record in a registry: the content to write, when the next attempt is due, and how the last one ended.

    The keeper changes `due` and `is_leaving` under its lock, and the rest in its thread alone.
    """

    def __init__(self, service: str, endpoint: Endpoint, lease: Lease) -> None:
        self.service, self.endpoint, self.lease = service, endpoint, lease
        #: Whether the registry held the record at the last attempt.
        self.is_registered = False
        #: The error of the last attempt; None if it succeeded.
        self.error: Exception | None = None
        #: The result of the first attempt.
        self.entered: Future[None] = Future()
        #: Done once the record is removed, or its removal failed.
        self.left: Future[None] = Future()
        #: Whether its removal was asked for.
        self.is_leaving = False
        #: The instant of the next attempt, in seconds of the keeper's clock.
        self.due = _AT_ONCE

    @property
    def is_hurried(self) -> bool:
        """Whether its next attempt is due at once."""
        return self.due == _AT_ONCE

    def hurry(self) -> None:
        """Make the next attempt due at once."""
        self.due = _AT_ONCE

    def exchange(self, change: RecordChange) -> None:
        """Exchange endpoint and lease with a change, without I/O."""
        self.endpoint, change.endpoint = change.endpoint, self.endpoint
        if isinstance(self.lease, ChangingLease) and isinstance(change.lease, ChangingLease):
            self.lease.record, change.lease.record = change.lease.record, self.lease.record
        else:
            self.lease, change.lease = change.lease, self.lease

    def __repr__(self) -> str:
        return f"<Registration of {self.service} at {self.endpoint}>"
