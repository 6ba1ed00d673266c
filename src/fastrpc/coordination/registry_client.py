"""`registry://host:port`: the embedded registry, asked with a blocking client in the registry object's threads."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from fastrpc.client.sync_client import SyncClient
from fastrpc.config import Backoff, ClientConfig, Keepalive, Timeouts
from fastrpc.coordination.registry_service import RegistryService
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import FastRPCError, StoreError
from fastrpc.escaping import printable
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.backend import Entry, Listing
from fastrpc.registries.base.record import RecordError, decode_record, encode_record
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.status import Status

__all__ = ["EmbeddedRegistry", "RecordLease", "ServiceLookup", "open_embedded"]

#: Seconds for an answer, on top of what a watch may wait.
ANSWER_SECONDS = 2.0

#: What tells that another attempt cannot help: the registry understood, and refuses.
_FINAL = {Status.INVALID_ARGUMENT, Status.PERMISSION_DENIED, Status.UNAUTHENTICATED, Status.UNIMPLEMENTED}

_CONFIG = ClientConfig(
    # Watches are closed from event loops, which a goodbye must not hold up.
    timeouts=Timeouts(connect=ANSWER_SECONDS, call=ANSWER_SECONDS, linger=0.0),
    # Feeds and leases have pauses of their own; these must not lie on top of them.
    backoff=Backoff(first=0.05, longest=0.2),
    keepalive=Keepalive(interval=2.0, timeout=2.0),
)


def open_embedded(url: RegistryURL) -> BackedRegistry:
    """Open `registry://host:port`; the option `ttl` is the seconds after which a server that died is dropped (10)."""
    (host, port), *others = url.places(None)
    addresses = [Address("tcp", host=host, port=port) for host, port in [(host, port), *others]]
    lease_seconds = url.take("ttl", 10.0, _seconds)
    return BackedRegistry(EmbeddedRegistry(addresses, lease_seconds), str(url), **url.take_shared())


class EmbeddedRegistry:
    """A backend: a server of `fastrpc.registry`.

    Args:
        addresses: of one registry; several are ways to the same one.
        lease_seconds: a server that says nothing for so long is dropped.
    """

    def __init__(self, addresses: list[Address], lease_seconds: float) -> None:
        self._addresses = addresses
        self._lease_seconds = lease_seconds
        # The thread of the leases has one client for all.
        self._client: SyncClient | None = None

    def open_lookup(self, service: str) -> "ServiceLookup":
        # A connection of its own: closing it is what ends a question that waits.
        return ServiceLookup(service, self._connect())

    def open_lease(self, service: str, endpoint: Endpoint) -> "RecordLease":
        if self._client is None:
            self._client = self._connect()
        return RecordLease(self._client, service, encode_record(endpoint).decode(), self._lease_seconds)

    def list_services(self) -> Iterable[str]:
        with self._connect() as client, _errors():
            return client.call(RegistryService.services)

    def _connect(self) -> SyncClient:
        return SyncClient(self._addresses, config=_CONFIG)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


class ServiceLookup:
    """Asks for the list of a service; the server holds the question until the list changes."""

    def __init__(self, service: str, client: SyncClient) -> None:
        self._service = service
        self._client = client
        self._cursor = ""

    def fetch(self, wait_seconds: float) -> Listing:
        client = self._client.with_options(timeout=wait_seconds + ANSWER_SECONDS)
        with _errors():
            found: Any = client.call(RegistryService.watch, self._service, self._cursor, float(wait_seconds))
        before, self._cursor = self._cursor, found.cursor
        is_restart = bool(before) and before.partition(".")[0] != found.cursor.partition(".")[0]
        return Listing([_entry(record) for record in found.records], is_restart=is_restart)

    def close(self) -> None:
        self._client.close()


class RecordLease:
    """One record at the registry, under a lease of its own."""

    def __init__(self, client: SyncClient, service: str, record: str, lease_seconds: float) -> None:
        # A registry that was away has to be noticed, and the record written again, within five seconds.
        self.renew_seconds = min(2.0, lease_seconds / 3)
        self._client = client
        self._arguments = (service, record, lease_seconds)
        self._lease = ""

    def acquire(self) -> None:
        with _errors():
            self._lease = self._call(RegistryService.register, *self._arguments)

    def renew(self) -> bool:
        with _errors():
            return bool(self._call(RegistryService.renew, self._lease))

    def release(self) -> None:
        with _errors():
            self._call(RegistryService.deregister, self._lease)

    def _call(self, method: Any, *arguments: Any) -> Any:
        return self._client.call(method, *arguments)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Turn what a call raises into StoreError."""
    try:
        yield
    except FastRPCError as error:
        status = error.status if error.status in _FINAL else Status.UNAVAILABLE
        # Not its hint: that is for those who called a service.
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
        raise ValueError("it is from 2 to 3600 seconds")
    return seconds
