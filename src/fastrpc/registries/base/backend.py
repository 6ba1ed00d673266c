"""What is written for one kind of registry; everything else is shared.

A backend blocks: it is called in threads that belong to the registry object, never on an event loop. It needs no
retries, no thread safety beyond what is said here, and no memory of its own beyond its place in the registry.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from fastrpc.endpoint import Endpoint
from fastrpc.registries.base.record import RecordError

__all__ = ["Backend", "Entry", "Lease", "Listing", "Lookup"]

#: A name for messages, and what the record there says, or why it cannot be read.
Entry: TypeAlias = tuple[str, Endpoint | RecordError]


@dataclass(frozen=True, slots=True)
class Listing:
    """What a registry answered."""

    entries: Sequence[Entry]

    #: Seconds before it makes sense to ask again; 0 where `fetch` itself waits for changes.
    pause_seconds: float = 0.0

    #: Whether the registry seems to have started anew and may not have everything yet.
    is_restart: bool = False


class Lookup(Protocol):
    """Asks for the list of one service; used by one thread."""

    def fetch(self, wait_seconds: float) -> Listing:
        """Return the list as it is now.

        Args:
            wait_seconds: how long it may wait for a change since the last `fetch`; 0 asks for an answer at once.

        Raises:
            StoreError: the registry cannot be asked.
        """

    def close(self) -> None:
        """End a `fetch` that is under way as soon as possible; called from another thread."""


class Lease(Protocol):
    """The right of one endpoint to be in the list of one service. All leases are used by one thread."""

    #: Seconds from one `renew` to the next: well below the time after which the registry drops the endpoint.
    renew_seconds: float

    def acquire(self) -> None:
        """Write the record, whatever is there.

        Raises:
            StoreError: it cannot be written. With the status UNAVAILABLE it is tried again.
        """

    def renew(self) -> bool:
        """Keep it; False when the registry has lost it. Raises StoreError like `acquire`."""

    def release(self) -> None:
        """Remove it. Raises StoreError like `acquire`."""


class Backend(Protocol):
    """One registry, reached over the network or not."""

    def open_lookup(self, service: str) -> Lookup:
        """Make what asks for a service; does no I/O."""

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        """Make what registers an endpoint; does no I/O.

        Raises:
            ConfigError: this registry cannot hold it.
        """

    def list_services(self) -> Iterable[str]:
        """Return the names of the services it knows; any thread may call it, at any time.

        Raises:
            ConfigError: registries of this kind cannot tell.
            StoreError: the registry cannot be asked.
        """

    def close(self) -> None:
        """Let go of everything; called once, when no lookup and no lease is in use any more."""
