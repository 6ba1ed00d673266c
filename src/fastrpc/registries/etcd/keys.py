"""Endpoints as keys of etcd. The registrations of a registry object share one etcd lease."""

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import StoreError
from fastrpc.registries.base.backend import Lease
from fastrpc.registries.base.layouts import Layout, RpcxLayout
from fastrpc.registries.base.rules import MOST_SERVICES
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.etcd.gateway import EtcdAccess, Gateway, Header, Range
from fastrpc.registries.etcd.lookup import EtcdLookup
from fastrpc.status import Status

__all__ = ["EtcdKeys", "EtcdLease", "RpcxEtcdLease", "SharedLease"]

T = TypeVar("T")


class EtcdKeys:
    """A backend over the keys of a cluster.

    Args:
        ttl_seconds: seconds without renewal after which etcd drops the records of a registry object.
    """

    def __init__(self, access: EtcdAccess, layout: Layout, ttl_seconds: int) -> None:
        self._access, self._layout = access, layout
        self._ttl_seconds = ttl_seconds
        # All registrations share this lease, because one thread uses all registrations.
        self._lease: SharedLease | None = None

    def open_lookup(self, service: str) -> SingleLookup:
        return SingleLookup(self.open_shared(), service)

    def open_shared(self) -> EtcdLookup:
        return EtcdLookup(Gateway(self._access), self._layout.prefix, self._layout.read)

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        self._layout.record(endpoint)
        if self._lease is None:
            self._lease = SharedLease(Gateway(self._access), self._ttl_seconds)
        kind = RpcxEtcdLease if isinstance(self._layout, RpcxLayout) else EtcdLease
        return kind(self._lease, self._layout, service, endpoint)

    def list_services(self) -> Iterable[str]:
        start, found = len(self._layout.prefix), set[str]()
        with contextlib.closing(Gateway(self._access)) as gateway:
            for page in gateway.pages(self._layout.prefix, keys_only=True):
                parts = (one.key.decode("utf-8", "replace")[start:].partition("/") for one in page.kvs)
                found |= {service for service, slash, _ in parts if slash}
                if len(found) >= MOST_SERVICES:
                    break
        return found

    def remove(self, service: str, address: Address) -> bool:
        name, _ = self._layout.record(Endpoint(address))
        key = f"{self._layout.prefix}{service}/{name}".encode()
        with contextlib.closing(Gateway(self._access)) as gateway:
            return gateway.ask("kv/deleterange", {"key": key}, _Deleted).deleted > 0

    def close(self) -> None:
        if self._lease is not None:
            self._lease.gateway.close()


class _Granted(msgspec.Struct):
    ID: int = 0
    TTL: int = 0


class _KeptAlive(msgspec.Struct):
    result: _Granted


class _Deleted(msgspec.Struct):
    deleted: int = 0


class _Deposit(msgspec.Struct):
    header: Header
    succeeded: bool = False


class SharedLease:
    """The lease in etcd that all records of a registry object share."""

    def __init__(
        self, gateway: Gateway, ttl_seconds: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.gateway, self.renew_seconds = gateway, ttl_seconds / 3
        self._ttl_seconds, self._clock = ttl_seconds, clock
        self._id, self._renewed_at = 0, 0.0
        self._keys: set[str] = set()

    def hold(self, key: str) -> int:
        """Return the lease for a key. Renew it if half of the renewal interval has passed; replace a lost lease."""
        self._keys.add(key)
        now = self._clock()
        if self._id and now - self._renewed_at >= self.renew_seconds / 2:
            answer = self.gateway.ask("lease/keepalive", {"ID": str(self._id)}, _KeptAlive)
            self._id = self._id if answer.result.TTL > 0 else 0
            self._renewed_at = now
        if not self._id:
            self._id = self.gateway.ask("lease/grant", {"TTL": self._ttl_seconds}, _Granted).ID
            self._renewed_at = now
        return self._id

    def lose(self) -> None:
        """Record that the lease is lost. The next `hold` grants another."""
        self._id = 0

    def abandon(self, key: str) -> None:
        """Give up a key that could not be deleted: it expires with this lease. Other keys get a new lease."""
        self._keys.discard(key)
        self.lose()

    def leave(self, key: str) -> None:
        """Record that a key was deleted. After the last key, revoke the lease."""
        self._keys.discard(key)
        if self._id and not self._keys:
            lease, self._id = self._id, 0
            self.gateway.ask("lease/revoke", {"ID": str(lease)}, _Granted)


class EtcdLease:
    """The record of one endpoint.

    If an address is registered twice, the later registration writes the record. After its removal the other
    registration writes the record again.
    """

    def __init__(self, lease: SharedLease, layout: Layout, service: str, endpoint: Endpoint) -> None:
        self.renew_seconds = lease.renew_seconds
        self._shared, self._layout = lease, layout
        self._service = service
        self.record = endpoint
        name, _ = layout.record(endpoint)
        self._key = f"{layout.prefix}{service}/{name}"
        # `_lease`, `_revision`, `_written`: the etcd lease, the revision and the value of the last write. Lease and
        # revision are 0 if unknown.
        self._lease = self._revision = 0
        self._written = b""

    def acquire(self) -> None:
        lease = self._shared.hold(self._key)
        is_kept = self._lease == lease and self._revision and self._written == self._content()
        self._lease, revision, self._revision = lease, self._revision, 0
        try:
            # Do not write if the key still has the last write of this registration: same revision, lease and value.
            found = self._write("MOD", revision if is_kept else -1, [], [self._put(lease)])
        except StoreError as error:
            if error.status is Status.NOT_FOUND:
                self._shared.lose()
                raise StoreError(error.message) from error
            raise
        self._revision = revision if found.succeeded else found.header.revision

    def renew(self) -> bool:
        if self._shared.hold(self._key) != self._lease:
            return False
        # The result is True also if another server has taken over the record.
        return bool(self._ask("kv/range", {"key": self._key.encode()}, Range).kvs)

    def rewrite(self) -> bool:
        lease = self._shared.hold(self._key)
        if lease != self._lease:
            return False
        revision, self._revision = self._revision, 0
        # If the answer to a write was lost, the revision is unknown, but the key still has our lease.
        target, value = ("MOD", revision) if revision else ("LEASE", lease)
        try:
            found = self._write(target, value, [self._put(lease)], [])
        except StoreError as error:
            if error.status is Status.NOT_FOUND:
                return False
            raise
        if found.succeeded:
            self._revision = found.header.revision
            return True
        # Another server has taken over the record, which is kept.
        return self.renew()

    def release(self) -> None:
        delete = [{"request_delete_range": {"key": self._key.encode()}}]
        try:
            if self._revision:
                self._write("MOD", self._revision, delete, [])
            elif self._lease:
                self._write("LEASE", self._lease, delete, [])
        except StoreError:
            self._shared.abandon(self._key)
            raise
        self._shared.leave(self._key)

    def _put(self, lease: int) -> dict[str, Any]:
        self._written = self._content()
        return {"request_put": {"key": self._key.encode(), "value": self._written, "lease": str(lease)}}

    def _content(self) -> bytes:
        """Return the value of the key."""
        return self._layout.record(self.record)[1]

    def _write(self, target: str, value: int, success: list[Any], failure: list[Any]) -> _Deposit:
        """Execute `success` if the property `target` of the key equals `value`, else `failure`."""
        field = "mod_revision" if target == "MOD" else "lease"
        compare = [{"key": self._key.encode(), "target": target, field: str(value), "result": "EQUAL"}]
        return self._ask("kv/txn", {"compare": compare, "success": success, "failure": failure}, _Deposit)

    def _ask(self, path: str, request: dict[str, Any], kind: type[T]) -> T:
        return self._shared.gateway.ask(path, request, kind)


class RpcxEtcdLease(EtcdLease):
    """A record of rpcx, which can be marked as leaving. The key of the service is written together with it."""

    _is_leaving = False

    def acquire(self) -> None:
        super().acquire()
        key = f"{self._layout.prefix}{self._service}".encode()
        self._ask("kv/put", {"key": key, "value": self._service.encode()}, _Granted)

    def retire(self) -> bool:
        self._is_leaving = True
        # The write changes nothing if another server has taken over the key.
        found = self._write("MOD", self._revision or -1, [self._put(self._lease)], [])
        if found.succeeded:
            self._revision = found.header.revision
        return found.succeeded

    def _content(self) -> bytes:
        return self._layout.record(self.record, is_leaving=self._is_leaving)[1]
