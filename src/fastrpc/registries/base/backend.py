"""The interface of one kind of registry; all other parts are shared.

A backend blocks: the threads of the registry object call it, never an event loop. It needs no retries, thread safety
only where stated here, and no state except its position in the registry.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import StoreError
from fastrpc.registries.base.record import RecordError

__all__ = [
    "Backend",
    "BesideBackend",
    "ChangingLease",
    "Entry",
    "Lease",
    "Listing",
    "Lookup",
    "RemovingBackend",
    "RetiringLease",
    "SharedLookup",
    "SharingBackend",
]

#: A name for messages, and the endpoint of the record or the error of reading the record.
Entry: TypeAlias = tuple[str, Endpoint | RecordError]


@dataclass(frozen=True, slots=True)
class Listing:
    """The answer of a registry."""

    entries: Sequence[Entry]

    #: Seconds to wait before the next query; 0 if `fetch` itself waits for changes.
    pause_seconds: float = 0.0

    #: True if the registry seems to have restarted, so that the list may be incomplete.
    is_restart: bool = False

    #: True if the connection was lost after the previous list, although no `fetch` has failed.
    was_away: bool = False

    #: True if this is the previous list again, because the registry has sent nothing since.
    is_repeated: bool = False


class Lookup(Protocol):
    """Fetches the list of one service; one thread uses it."""

    def fetch(self, wait_seconds: float) -> Listing:
        """Return the current list.

        Args:
            wait_seconds: how long to wait for a change since the last `fetch`; 0 returns immediately.

        Raises:
            StoreError: the registry cannot be reached.
        """

    def close(self) -> None:
        """Interrupt a running `fetch` as soon as possible; called from another thread."""


class SharedLookup(Protocol):
    """Fetches the lists of many services. One thread uses it, except `wake` and `close`.

    Every method and argument is required. Without `again`, a list that lost half of its endpoints, or a service that is
    followed again, would never be reported. Without `wake`, an added service would wait until the running `fetch`
    returns.
    """

    def follow(self, services: frozenset[str], again: frozenset[str]) -> None:
        """Follow these services from now on, and no others; without I/O.

        Args:
            again: the services whose lists the next `fetch` has to return even if they did not change.
        """

    def fetch(self, wait_seconds: float) -> Mapping[str, Listing | StoreError]:
        """Return the whole list of each service that changed, or the error if the list cannot be read.

        A service counts as changed when it is first followed, when `follow` names it in `again`, and after `fetch` has
        raised an error. `fetch` need not retry a list that could not be read until `again` names its service.

        Args:
            wait_seconds: how long to wait for a change; 0 returns immediately.

        Raises:
            StoreError: the registry cannot be reached. With status UNIMPLEMENTED, or PERMISSION_DENIED for several
                services, the services have to be queried one by one.
        """

    def wake(self) -> None:
        """Make the running `fetch` return immediately; if none runs, the next one. Another thread calls this."""

    def close(self) -> None:
        """Make a running `fetch` return as soon as possible. Another thread calls this."""


class Lease(Protocol):
    """Keeps one endpoint in the list of one service. One thread uses all leases."""

    #: Seconds from one `renew` to the next, much shorter than the time after which the registry drops the endpoint.
    renew_seconds: float

    def acquire(self) -> None:
        """Write the record. It replaces any record of the same key.

        Raises:
            StoreError: the record cannot be written. It is retried if the status is UNAVAILABLE.
        """

    def renew(self) -> bool:
        """Renew the record; return False if the registry has lost it. Raises StoreError as `acquire` does."""

    def release(self) -> None:
        """Remove the record. Raises StoreError as `acquire` does."""


@runtime_checkable
class ChangingLease(Lease, Protocol):
    """A lease whose record can change.

    A change of a lease without this interface needs a new lease, which writes its record over the held record. The
    previous lease is dropped without `release`.
    """

    #: The content of the record, in a form that only the backend knows. The keeper swaps it with the `record` of
    #: another lease of the same service and address.
    record: Any

    def rewrite(self) -> bool:
        """Write the present content over the held record and renew it; False if the registry has lost the record.

        Readers see a record at every moment. If another server has replaced the record, its new record is not changed.

        Raises:
            StoreError: as `acquire` raises it.
        """


@runtime_checkable
class RetiringLease(Lease, Protocol):
    """A lease whose registry can mark the record of a leaving server, so that clients stop choosing it."""

    def retire(self) -> bool:
        """Mark the record; return False if another server has replaced it. Raises StoreError as `acquire` does."""


class Backend(Protocol):
    """One registry, remote or in this process."""

    def open_lookup(self, service: str) -> Lookup:
        """Return a lookup for a service, without I/O."""

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        """Return a lease for an endpoint, without I/O.

        Raises:
            ConfigError: this registry cannot hold the endpoint. The status UNIMPLEMENTED means that no server registers
                in this kind of registry.
        """

    def list_services(self) -> Iterable[str]:
        """Return the names of the registry's services. Any thread may call this at any time.

        Raises:
            ConfigError: this kind of registry cannot list its services.
            StoreError: the registry cannot be reached.
        """

    def close(self) -> None:
        """Release all resources; called once, after the last use of lookups and leases."""


@runtime_checkable
class RemovingBackend(Backend, Protocol):
    """A registry in which any program with the right to write may delete any record."""

    def remove(self, service: str, address: Address) -> bool:
        """Delete the records of an address; return whether there was one. Any thread may call this at any time.

        Raises:
            ConfigError: this registry cannot hold the address.
            StoreError: the registry cannot be reached, or refuses.
        """


@runtime_checkable
class SharingBackend(Backend, Protocol):
    """A registry that reports many services over one connection."""

    def open_shared(self) -> SharedLookup:
        """Return a lookup for many services, without I/O."""


@runtime_checkable
class BesideBackend(Backend, Protocol):
    """A registry whose lookups may share a connection."""

    def open_beside(self, service: str, lookup: Lookup) -> Lookup:
        """Return a lookup that shares another lookup's connection and thread, and closes with it; no I/O."""
