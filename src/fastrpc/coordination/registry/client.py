"""`registry://host:port`: the embedded registry, called by a blocking client in the registry object's threads."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from fastrpc.client.blocking.client import SyncClient
from fastrpc.client.blocking.stream import SyncStream
from fastrpc.client.credentials import CredentialSource
from fastrpc.config import TLS, Backoff, ClientConfig, Keepalive, Timeouts
from fastrpc.coordination.registry.registration import check_record_size
from fastrpc.coordination.registry.service import FOLLOWED_BYTES, RegistryService
from fastrpc.coordination.registry.service_lists import ServiceList
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import CallError, ConfigError, FastRPCError, StoreError, UnavailableError
from fastrpc.escaping import printable
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.backend import Entry, Listing, SharedLookup
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.poller import WAIT_SECONDS
from fastrpc.registries.base.record import RecordError, decode_record, encode_record
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.base.secrets import check_carried, take_secret
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.rpc.token import checked_token
from fastrpc.status import Status
from fastrpc.stores.memory import MOST_ITEMS

__all__ = ["EmbeddedRegistry", "RecordLease", "ServiceLookup", "call_errors", "open_embedded"]

#: Seconds for an answer, in addition to the wait of a watch.
ANSWER_SECONDS = 2.0

#: Bytes of records per page, and seconds for all pages of a list.
PAGE_BYTES = 1024 * 1024
PAGES_SECONDS = 10.0

#: Attempts of one `fetch` at a list that changes while its pages are read.
BEGINNINGS = 5

#: Names of services per page.
SERVICES_AT_ONCE = 10_000

_NO_REGISTRY_HINT = "a server is dialled as tcp://host:port, and `fastrpc registry` starts a registry"

#: Statuses of a permanent refusal, where a retry cannot help.
_FINAL = {Status.INVALID_ARGUMENT, Status.PERMISSION_DENIED, Status.UNAUTHENTICATED, Status.UNIMPLEMENTED}

_CONFIG = ClientConfig(
    # Watches are closed from event loops, which a lingering close must not block.
    timeouts=Timeouts(
        connect=ANSWER_SECONDS, call=ANSWER_SECONDS, stream_idle=WAIT_SECONDS + ANSWER_SECONDS, linger=0.0
    ),
    # Pollers and leases have their own pauses; a second backoff must not add to them.
    backoff=Backoff(first=0.05, longest=0.2),
    keepalive=Keepalive(interval=2.0, timeout=2.0),
)


def open_embedded(url: RegistryURL) -> BackedRegistry:
    """Open `registry://host:port`; the option `ttl` is the seconds after which a crashed server is dropped (10).

    With `tls=true` the connection is encrypted. `token_file` names a file with the token to show, which is read again
    when it changes; `token` is the token itself.

    Raises:
        ConfigError: an option is wrong, or a token would travel in the clear.
    """
    tls = url.take_tls()
    scheme = "tcp" if tls is None else "tls"
    places = url.places(None)
    addresses = [Address(scheme, host=host, port=port) for host, port in places]
    lease_seconds = url.take("ttl", 10.0, _seconds)
    credentials = take_secret(url, "token", checked_token)
    check_carried(url, places, kind="token" if credentials else "", is_encrypted=tls is not None)
    backend = EmbeddedRegistry(addresses, lease_seconds, tls, credentials)
    return BackedRegistry(backend, str(url), **url.take_shared())


class EmbeddedRegistry:
    """A backend: a server of `fastrpc.registry`.

    Args:
        addresses: of one registry; several lead to the same one.
        lease_seconds: silence after which a server is dropped.
        tls: certificates for `tls://` addresses.
        credentials: the token to show, or a function that returns it.
    """

    def __init__(
        self,
        addresses: list[Address],
        lease_seconds: float,
        tls: TLS | None = None,
        credentials: CredentialSource | None = None,
    ) -> None:
        self._addresses = addresses
        self._credentials = credentials
        # The URL has been judged already: plain places beyond this machine need `allow_insecure`.
        self._config = replace(_CONFIG, tls=tls, allow_insecure_credentials=True)
        self._lease_seconds = lease_seconds
        # All leases share one client, as one thread uses them.
        self._client: SyncClient | None = None

    def open_lookup(self, service: str) -> "ServiceLookup":
        # A separate connection: closing it interrupts a waiting query.
        return ServiceLookup(service, self._connect())

    def open_shared(self) -> SharedLookup:
        # Imported here: it uses the lookup of one service.
        from fastrpc.coordination.registry.services_lookup import ServicesLookup

        return ServicesLookup(self._connect())

    def open_beside(self, service: str, lookup: "ServiceLookup") -> "ServiceLookup":
        return ServiceLookup(service, lookup.client)

    def open_lease(self, service: str, endpoint: Endpoint) -> "RecordLease":
        if self._client is None:
            self._client = self._connect()
        record = encode_record(endpoint).decode()
        try:
            check_record_size(record)
        except ValueError as error:
            raise ConfigError(
                f"{endpoint} cannot be registered: {error}", hint="give it fewer labels"
            ) from None
        return RecordLease(self._client, service, record, self._lease_seconds)

    def list_services(self) -> Iterable[str]:
        with self._connect() as client, call_errors():
            names: list[str] = []
            for _ in range(MOST_ITEMS // SERVICES_AT_ONCE + 1):
                found = client.call(RegistryService.services, names[-1] if names else "", SERVICES_AT_ONCE)
                names += found
                if len(found) < SERVICES_AT_ONCE:
                    break
            return names

    def remove(self, service: str, address: Address) -> bool:
        with self._connect() as client, call_errors():
            return client.call(RegistryService.remove, service, str(address))

    def _connect(self) -> SyncClient:
        return SyncClient(self._addresses, credentials=self._credentials, config=self._config)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


class ServiceLookup:
    """Fetches the list of a service; the server reports changes by a stream, or holds a query until one.

    The first query, and each one after a failure, is a plain one. Then a stream continues from its cursor: no change in
    between is lost. A server that has no such stream is queried again and again.
    """

    def __init__(self, service: str, client: SyncClient) -> None:
        self._service = service
        self.client = client
        #: Identifies the last list; "" before the first.
        self.cursor = ""
        self._entries: list[Entry] = []
        self._decoded = DecodedRecords(lambda _, record: _entry(record))
        # The stream of changes, and the seconds after which the server reports that nothing changed.
        self._stream: SyncStream[Any, ServiceList] | None = None
        self._stream_wait = 0.0
        self._has_streams = True

    def fetch(self, wait_seconds: float) -> Listing:
        with call_errors():
            found = self._next(wait_seconds)
            return Listing(self._entries) if found is None else self.take(found)

    def take(self, first: ServiceList) -> Listing:
        """Return the list with this first page, or a newer one."""
        found, records = self._whole(first)
        before, self.cursor = self.cursor, found.cursor
        is_restart = bool(before) and before.partition(".")[0] != found.cursor.partition(".")[0]
        self._entries = self._decoded.entries((record, record) for record in records)
        return Listing(self._entries, is_restart=is_restart)

    def _next(self, wait_seconds: float) -> ServiceList | None:
        """Return the first page of the list, now or when it changes; None if the wait is over."""
        if wait_seconds <= 0.0 or not self.cursor:
            self._leave_stream()
            # The server may be another one than before.
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
            # A lost connection is an error at once: the next query has a time limit.
            client = self.client.with_options(fail_mode="failfast")
            self._stream = client.stream(RegistryService.follow, *arguments)
            self._stream_wait = wait_seconds
        try:
            found = self._stream.receive()
        except BaseException as error:
            self._leave_stream()
            if isinstance(error, UnavailableError) and error.processed == "yes":
                # The connection drains: the next stream continues from the same cursor, on another connection.
                return None
            raise
        return None if found.cursor == self.cursor else found

    def _leave_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _whole(self, first: ServiceList) -> tuple[ServiceList, list[str]]:
        """Return the list with this first page, or a newer one, and all its records."""
        for _ in range(BEGINNINGS):
            records = self._following(first)
            if records is not None:
                return first, records
            # A message that is under way would be older than the answer.
            self._leave_stream()
            first = self._watched("", 0.0)
        raise StoreError(f"the list of {self._service} changes too fast to be read page by page")

    def _watched(self, after: str, wait_seconds: float) -> ServiceList:
        """Return the first page of the list."""
        client = self.client.with_options(timeout=wait_seconds + ANSWER_SECONDS)
        return client.call(RegistryService.watch, self._service, after, float(wait_seconds), PAGE_BYTES)

    def _following(self, first: ServiceList) -> list[str] | None:
        """Return all records of the list with this first page; None if the server dropped the list meanwhile.

        Raises:
            StoreError: an answer is not a page of this list.
        """
        records = list(first.records)
        following = first.following
        until = time.monotonic() + PAGES_SECONDS
        # Further records would be ignored.
        while following and len(records) <= MOST_ENDPOINTS:
            if time.monotonic() > until:
                raise StoreError(f"the list of {self._service} did not come within {PAGES_SECONDS:g} s")
            if following != len(records):
                raise StoreError(
                    f"the page behind {len(records)} records of {self._service} begins at {following}"
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


class RecordLease:
    """One record at the registry, under its own lease."""

    def __init__(self, client: SyncClient, service: str, record: str, lease_seconds: float) -> None:
        # After an outage, the record must be written again within five seconds.
        self.renew_seconds = min(2.0, lease_seconds / 3)
        self._client = client
        self._service, self._lease_seconds = service, lease_seconds
        self.record = record
        self._lease = ""

    def acquire(self) -> None:
        arguments = self._service, self.record, self._lease_seconds
        with call_errors():
            self._lease = self._call(RegistryService.register, *arguments)

    def renew(self) -> bool:
        with call_errors():
            return bool(self._call(RegistryService.renew, self._lease))

    def rewrite(self) -> bool:
        with call_errors():
            try:
                return bool(self._call(RegistryService.change, self._lease, self.record))
            except CallError as error:
                if error.status is not Status.UNIMPLEMENTED:
                    raise
        # An older registry: a new lease takes the record over, and the one before ends without it.
        before = self._lease
        is_held = self.renew()
        if is_held:
            self.acquire()
            with call_errors():
                self._call(RegistryService.deregister, before)
        return is_held

    def release(self) -> None:
        with call_errors():
            self._call(RegistryService.deregister, self._lease)

    def _call(self, method: Any, *arguments: Any) -> Any:
        return self._client.call(method, *arguments)


@contextlib.contextmanager
def call_errors() -> Iterator[None]:
    """Turn the error of a call into StoreError."""
    try:
        yield
    except FastRPCError as error:
        if isinstance(error, CallError) and error.status is Status.UNIMPLEMENTED:
            raise StoreError(
                "the server there is no registry", status=error.status, hint=_NO_REGISTRY_HINT
            ) from error
        is_final = error.status in _FINAL or (
            # From the registry itself: it is full. A server that refuses for load uses another status.
            isinstance(error, CallError) and error.status is Status.RESOURCE_EXHAUSTED
        )
        status = error.status if is_final else Status.UNAVAILABLE
        # Without its hint, which is for callers of a service.
        raise StoreError(printable(error.message), status=status) from error


def _entry(record: str) -> Entry:
    try:
        endpoint = decode_record(record)
        return str(endpoint.address), endpoint
    except RecordError as error:
        return record[:80], error


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 2.0 <= seconds <= 3_600.0:
        raise ValueError("it must be seconds from 2 to 3600")
    return seconds
