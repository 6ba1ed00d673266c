"""Follow services by the announcements that this program receives from the network."""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from fastrpc.registries.base.backend import Entry, Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.record import RecordError, decode_record

__all__ = ["AnnouncedLookup", "Announcements"]


class Announcements(Protocol):
    """The records that are announced now."""

    #: Held while records are read or changed; notified of each change.
    changed: threading.Condition

    @property
    def version(self) -> int:
        """A number that increases with each change."""

    def start(self) -> object:
        """Start to listen.

        Raises:
            StoreError: no socket could be opened.
        """

    def wait(self, is_over: Callable[[], bool], wait_seconds: float, is_found: Callable[[], bool]) -> None:
        """Wait for the first answers after `start`, then until `is_over()`. The caller holds `changed`.

        Args:
            is_found: returns whether the wanted records were received, or the lookup has ended. Networks that lose
                datagrams wait briefly for this after `start`.
        """

    def records(self, services: Iterable[str]) -> Mapping[str, list[tuple[str, Any]]]:
        """Return the names and records of services, the latest first. Only the first record of an address counts."""


class AnnouncedLookup:
    """Returns the announced records of services."""

    def __init__(self, network: Announcements) -> None:
        self._network = network
        self._services: dict[str, DecodedRecords] = {}
        # The records in the last returned list of each service.
        self._told: dict[str, list[tuple[str, Any]]] = {}
        self._version = -1
        self._is_woken = self._is_closed = False

    def follow(self, services: frozenset[str], again: frozenset[str]) -> None:
        self._services = {name: self._services.get(name) or DecodedRecords(_read) for name in services}
        kept = services - again
        self._told = {name: records for name, records in self._told.items() if name in kept}

    def fetch(self, wait_seconds: float) -> Mapping[str, Listing]:
        self._network.start()
        with self._network.changed:
            self._network.wait(self._is_over, wait_seconds, self._is_found)
            self._is_woken = False
            self._version = self._network.version
            found = self._network.records(self._services)
        changed = {name: records for name, records in found.items() if self._told.get(name) != records}
        self._told |= changed
        return {name: Listing(self._services[name].entries(records)) for name, records in changed.items()}

    def _is_over(self) -> bool:
        is_missing = len(self._told) < len(self._services)
        return self._is_closed or self._is_woken or is_missing or self._network.version != self._version

    def _is_found(self) -> bool:
        return self._is_closed or self._is_woken or all(self._network.records(self._services).values())

    def wake(self) -> None:
        with self._network.changed:
            self._is_woken = True
            self._network.changed.notify_all()

    def close(self) -> None:
        with self._network.changed:
            self._is_closed = True
            self._network.changed.notify_all()


def _read(key: str, content: Any) -> Entry:
    try:
        return key, decode_record(content)
    except RecordError as error:
        return key, error
