"""The record of one registration, shared by the keeper's thread and the program that registered it."""

from concurrent.futures import Future

from fastrpc.endpoint import Endpoint
from fastrpc.registries.base.backend import ChangingLease, Lease

__all__ = ["KeptRecord", "RecordChange"]

_AT_ONCE = float("-inf")


class RecordChange:
    """A new record for a registration: its endpoint and its lease.

    After `KeptRecord.exchange` it holds the previous endpoint and lease.
    """

    def __init__(self, endpoint: Endpoint, lease: Lease) -> None:
        self.endpoint, self.lease = endpoint, lease
        #: Completes when the registry has the record, has refused it, or is known to be unreachable.
        self.done: Future[None] = Future()


class KeptRecord:
    """One record in a registry: the content to write, the time of the next attempt, and the outcome of the last one.

    The keeper changes `due` and `is_leaving` under its lock, and all other fields only in its thread.
    """

    def __init__(self, service: str, endpoint: Endpoint, lease: Lease) -> None:
        self.service, self.endpoint, self.lease = service, endpoint, lease
        #: Whether the registry held the record at the last attempt.
        self.is_registered = False
        #: The error of the last attempt; None if it succeeded.
        self.error: Exception | None = None
        #: The result of the first attempt.
        self.entered: Future[None] = Future()
        #: Completes when the record is removed, or its removal has failed.
        self.left: Future[None] = Future()
        #: Whether the removal of the record was requested.
        self.is_leaving = False
        #: The time of the next attempt, in seconds of the keeper's clock.
        self.due = _AT_ONCE

    @property
    def is_hurried(self) -> bool:
        """True if the next attempt is due immediately."""
        return self.due == _AT_ONCE

    def hurry(self) -> None:
        """Make the next attempt due immediately."""
        self.due = _AT_ONCE

    def exchange(self, change: RecordChange) -> None:
        """Swap endpoint and lease with a change; without I/O."""
        self.endpoint, change.endpoint = change.endpoint, self.endpoint
        if isinstance(self.lease, ChangingLease) and isinstance(change.lease, ChangingLease):
            self.lease.record, change.lease.record = change.lease.record, self.lease.record
        else:
            self.lease, change.lease = change.lease, self.lease

    def __repr__(self) -> str:
        return f"<Registration of {self.service} at {self.endpoint}>"
