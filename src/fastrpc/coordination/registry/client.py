"""The backend of `registry://host:port`: a blocking client of the embedded registry, used in background threads."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fastrpc.client.blocking.client import SyncClient
from fastrpc.client.credentials import CredentialSource
from fastrpc.config import TLS, Backoff, ClientConfig, Keepalive, Timeouts
from fastrpc.coordination.registry.lookup import ANSWER_SECONDS, ServiceLookup, call_errors
from fastrpc.coordination.registry.registration import check_record_size
from fastrpc.coordination.registry.service import RegistryService
from fastrpc.coordination.registry.services_lookup import ServicesLookup
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import CallError, ConfigError
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.backend import SharedLookup
from fastrpc.registries.base.poller import WAIT_SECONDS
from fastrpc.registries.base.record import encode_record
from fastrpc.registries.base.secrets import check_carried, take_secret
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.rpc.token import checked_token
from fastrpc.status import Status
from fastrpc.stores.memory import MOST_ITEMS

__all__ = ["EmbeddedRegistry", "RecordLease", "open_embedded"]

#: Names of services per page.
SERVICES_AT_ONCE = 10_000

_CONFIG = ClientConfig(
    # Watches are closed on event loops, which a slow close must not block.
    timeouts=Timeouts(
        connect=ANSWER_SECONDS, call=ANSWER_SECONDS, stream_idle=WAIT_SECONDS + ANSWER_SECONDS, linger=0.0
    ),
    # Pollers and leases pause by themselves: another long backoff must not add to that.
    backoff=Backoff(first=0.05, longest=0.2),
    keepalive=Keepalive(interval=2.0, timeout=2.0),
)


def open_embedded(url: RegistryURL) -> BackedRegistry:
    """Open `registry://host:port`; the option `ttl` is the seconds after which a crashed server is dropped (10).

    With `tls=true` the connection is encrypted. `token` is the token to send; `token_file` is a file with the token,
    which is read again when it changes.

    Raises:
        ConfigError: an option is wrong, or a token would be sent in plain text.
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
    """A registry backend that calls the service `fastrpc.registry`.

    Args:
        addresses: addresses of one registry.
        lease_seconds: seconds without a renewal after which a server is dropped.
        tls: certificates for `tls://` addresses.
        credentials: the token to send, or a function that returns it.
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
        # This is safe: the check of the URL allows plain text to another machine only with `allow_insecure`.
        self._config = replace(_CONFIG, tls=tls, allow_insecure_credentials=True)
        self._lease_seconds = lease_seconds
        # All leases share one client, since one thread uses them.
        self._client: SyncClient | None = None

    def open_lookup(self, service: str) -> "ServiceLookup":
        # Use a separate connection, as closing it interrupts a waiting query.
        return ServiceLookup(service, self._connect())

    def open_shared(self) -> SharedLookup:
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


class RecordLease:
    """One record at the registry, under a separate lease."""

    def __init__(self, client: SyncClient, service: str, record: str, lease_seconds: float) -> None:
        # Renew often enough that the record is written again within five seconds after an outage.
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
        # A registry of an older version lacks `change`: register again, which takes over the record. Then end the
        # previous lease, which no longer has the record.
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


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 2.0 <= seconds <= 3_600.0:
        raise ValueError("it must be seconds from 2 to 3600")
    return seconds
