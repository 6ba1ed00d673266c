"""The list of one service of the embedded registry, and the errors of its calls."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from fastrpc.client.blocking.client import SyncClient
from fastrpc.client.blocking.stream import SyncStream
from fastrpc.coordination.registry.service import FOLLOWED_BYTES, RegistryService
from fastrpc.coordination.registry.service_lists import ServiceList
from fastrpc.errors import CallError, FastRPCError, StoreError, UnavailableError
from fastrpc.escaping import printable
from fastrpc.registries.base.backend import Entry, Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.record import RecordError, decode_record
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.status import Status

__all__ = ["ANSWER_SECONDS", "ServiceLookup", "call_errors"]

#: Seconds for an answer, in addition to the wait of a watch.
ANSWER_SECONDS = 2.0

#: PAGE_BYTES: the most bytes of records per page. PAGES_SECONDS: the timeout for all pages of a list.
PAGE_BYTES = 1024 * 1024
PAGES_SECONDS = 10.0

#: Attempts of one `fetch` at a list that changes while its pages are read.
BEGINNINGS = 5

_NO_REGISTRY_HINT = "a server is dialled as tcp://host:port, and `fastrpc registry` starts a registry"

#: Statuses of permanent refusals, after which a retry cannot succeed.
_FINAL = {Status.INVALID_ARGUMENT, Status.PERMISSION_DENIED, Status.UNAUTHENTICATED, Status.UNIMPLEMENTED}


class ServiceLookup:
    """Fetches the list of a service. The server reports changes in a stream, or answers a query when there is a change.

    The first query, and each query after a failure, returns immediately. Then a stream continues from the cursor of the
    answer, so that no change is lost in between. A server without such a stream is queried repeatedly.
    """

    def __init__(self, service: str, client: SyncClient) -> None:
        self._service = service
        self.client = client
        #: Identifies the last list; "" before the first.
        self.cursor = ""
        self._entries: list[Entry] = []
        self._decoded = DecodedRecords(lambda _, record: _entry(record))
        # The stream of changes. After `_stream_wait` seconds without a change the server reports that nothing changed.
        self._stream: SyncStream[Any, ServiceList] | None = None
        self._stream_wait = 0.0
        self._has_streams = True

    def fetch(self, wait_seconds: float) -> Listing:
        with call_errors():
            found = self._next(wait_seconds)
            return Listing(self._entries) if found is None else self.take(found)

    def take(self, first: ServiceList) -> Listing:
        """Return the list whose first page this is, or a newer list."""
        found, records = self._whole(first)
        before, self.cursor = self.cursor, found.cursor
        is_restart = bool(before) and before.partition(".")[0] != found.cursor.partition(".")[0]
        self._entries = self._decoded.entries((record, record) for record in records)
        return Listing(self._entries, is_restart=is_restart)

    def _next(self, wait_seconds: float) -> ServiceList | None:
        """Return the first page of the list: immediately, or when it changes; None after `wait_seconds`."""
        if wait_seconds <= 0.0 or not self.cursor:
            self._leave_stream()
            # Try the stream again, since another server may answer now.
            self._has_streams = True
            return self._watched("", wait_seconds)
        if self._has_streams:
            try:
                return self._followed(wait_seconds)
            except CallError as error:
                if error.status is not Status.UNIMPLEMENTED:
                    raise
                self._has_streams = False
        return self._watched(self.cursor, wait_seconds)

    def _followed(self, wait_seconds: float) -> ServiceList | None:
        """Return the next message of the stream; None if nothing has changed."""
        if self._stream is None or self._stream_wait != wait_seconds:
            self._leave_stream()
            arguments = (self._service, self.cursor, wait_seconds, FOLLOWED_BYTES)
            # Fail immediately if the connection is lost: the next query has a time limit.
            client = self.client.with_options(fail_mode="failfast")
            self._stream = client.stream(RegistryService.follow, *arguments)
            self._stream_wait = wait_seconds
        try:
            found = self._stream.receive()
        except BaseException as error:
            self._leave_stream()
            if isinstance(error, UnavailableError) and error.processed == "yes":
                # The connection drains. The next stream continues from the same cursor on another connection.
                return None
            raise
        return None if found.cursor == self.cursor else found

    def _leave_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _whole(self, first: ServiceList) -> tuple[ServiceList, list[str]]:
        """Return the list whose first page this is, or a newer list; also return all its records."""
        for _ in range(BEGINNINGS):
            records = self._following(first)
            if records is not None:
                return first, records
            # Close the stream: its next message could be older than the answer.
            self._leave_stream()
            first = self._watched("", 0.0)
        raise StoreError(f"the list of {self._service} changes too fast to be read page by page")

    def _watched(self, after: str, wait_seconds: float) -> ServiceList:
        """Return the first page of the list."""
        client = self.client.with_options(timeout=wait_seconds + ANSWER_SECONDS)
        return client.call(RegistryService.watch, self._service, after, float(wait_seconds), PAGE_BYTES)

    def _following(self, first: ServiceList) -> list[str] | None:
        """Return all records of the list whose first page this is; None if the server has dropped the list.

        Raises:
            StoreError: an answer is not a page of this list.
        """
        records = list(first.records)
        following = first.following
        until = time.monotonic() + PAGES_SECONDS
        # Stop at the limit, since further records would be ignored.
        while following and len(records) <= MOST_ENDPOINTS:
            if time.monotonic() > until:
                raise StoreError(f"the list of {self._service} did not come within {PAGES_SECONDS:g} s")
            if following != len(records):
                raise StoreError(
                    f"the page after {len(records)} records of {self._service} begins at record {following}"
                )
            arguments = (self._service, first.cursor, following, PAGE_BYTES)
            try:
                page: ServiceList = self.client.call(RegistryService.page, *arguments)
            except CallError as error:
                if error.status is Status.ABORTED:
                    return None
                raise
            if page.cursor != first.cursor or not page.records:
                raise StoreError(f"the page of {self._service} at {following} is one of another list")
            records += page.records
            following = page.following
        return records

    def close(self) -> None:
        self.client.close()


@contextlib.contextmanager
def call_errors() -> Iterator[None]:
    """Convert errors of calls to StoreError."""
    try:
        yield
    except FastRPCError as error:
        if isinstance(error, CallError) and error.status is Status.UNIMPLEMENTED:
            raise StoreError(
                "the server there is no registry", status=error.status, hint=_NO_REGISTRY_HINT
            ) from error
        is_final = error.status in _FINAL or (
            # The registry itself uses this status when it is full. A server that sheds load uses another status.
            isinstance(error, CallError) and error.status is Status.RESOURCE_EXHAUSTED
        )
        status = error.status if is_final else Status.UNAVAILABLE
        # Leave out the hint, which is meant for callers of a service.
        raise StoreError(printable(error.message), status=status) from error


def _entry(record: str) -> Entry:
    try:
        endpoint = decode_record(record)
        return str(endpoint.address), endpoint
    except RecordError as error:
        return record[:80], error
