"""Follow many services of the embedded registry by one stream."""

import threading
from collections.abc import Mapping
from typing import Any

from fastrpc.client.blocking.client import SyncClient
from fastrpc.client.blocking.stream import SyncStream
from fastrpc.coordination.registry.lookup import ServiceLookup, call_errors
from fastrpc.coordination.registry.service import SHORTEST_WAIT_SECONDS, RegistryService
from fastrpc.coordination.registry.service_lists import ServiceList
from fastrpc.errors import StoreError, UnavailableError
from fastrpc.registries.base.backend import Listing

__all__ = ["ServicesLookup"]


class ServicesLookup:
    """Fetches the lists that have changed since their cursors, in a stream. A new stream continues from the cursors."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client
        self._lookups: dict[str, ServiceLookup] = {}
        # The services whose lists must be read again.
        self._again: set[str] = set()
        # The stream of changes. After `_stream_wait` seconds without a change the server reports that nothing changed.
        self._stream: SyncStream[Any, dict[str, ServiceList]] | None = None
        self._stream_wait = 0.0
        # Held while `interrupt` closes the stream of a wait.
        self._waking = threading.Lock()
        self._is_woken = False

    def follow(self, services: frozenset[str], again: frozenset[str]) -> None:
        if services != self._lookups.keys() or again:
            self._leave_stream()
        known = self._lookups
        self._lookups = {name: known.get(name) or ServiceLookup(name, self._client) for name in services}
        self._again |= again

    def fetch(self, wait_seconds: float) -> Mapping[str, Listing | StoreError]:
        try:
            with call_errors():
                found = self._received(max(wait_seconds, SHORTEST_WAIT_SECONDS))
                return {name: self._taken(name, first) for name, first in found.items()}
        except BaseException:
            self._leave_stream()
            self._again.update(self._lookups)
            raise
        finally:
            with self._waking:
                if self._is_woken:
                    self._leave_stream()
                self._is_woken = False

    def _taken(self, service: str, first: ServiceList) -> Listing | StoreError:
        """Return the list whose first page this is, or the error of a request for its other pages."""
        try:
            return self._lookups[service].take(first)
        except StoreError as error:
            self._again.add(service)
            self._leave_stream()
            return error

    def wake(self) -> None:
        with self._waking:
            self._is_woken = True
            stream = self._stream
        if stream is not None:
            stream.cancel()

    def close(self) -> None:
        self._client.close()

    def _received(self, wait_seconds: float) -> dict[str, ServiceList]:
        """Return the first pages of the changed lists; an empty dictionary without a change."""
        if self._stream is None or self._stream_wait != wait_seconds:
            self._leave_stream()
            cursors = {
                name: "" if name in self._again else lookup.cursor for name, lookup in self._lookups.items()
            }
            # Fail immediately if the connection is lost: the next query has a time limit.
            client = self._client.with_options(fail_mode="failfast")
            self._stream = client.stream(RegistryService.follow_many, cursors, wait_seconds)
            self._stream_wait = wait_seconds
        with self._waking:
            if self._is_woken:
                return {}
        try:
            found = self._stream.receive()
        except BaseException as error:
            is_drain = isinstance(error, UnavailableError) and error.processed == "yes"
            if self._is_woken or is_drain:
                # The next stream continues from the same cursors; if this connection drains, on another connection.
                self._leave_stream()
                return {}
            raise
        self._again -= found.keys()
        return {name: first for name, first in found.items() if name in self._lookups}

    def _leave_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
