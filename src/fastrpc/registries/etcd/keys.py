"""Endpoints as keys of etcd: lookups, and registrations that share one lease of etcd."""

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from fastrpc.endpoint import Endpoint
from fastrpc.errors import StoreError
from fastrpc.registries.base.backend import Entry, Lease, Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.layouts import Layout, RpcxLayout
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.etcd.gateway import (
    EtcdAccess,
    Gateway,
    Header,
    KeyChange,
    KeyWatch,
    Range,
    prefix_range,
)
from fastrpc.status import Status

__all__ = ["EtcdKeys", "EtcdLease", "EtcdLookup", "RpcxEtcdLease", "SharedLease"]

T = TypeVar("T")

#: Seconds between two proofs that the member has a quorum, and that its watch missed nothing.
PROOF_SECONDS = 15.0

#: Seconds that a change may take from the member to the watch.
UNDER_WAY_SECONDS = 0.5


class EtcdKeys:
    """A backend over the keys of a cluster.

    Args:
        ttl_seconds: silence after which the records of a registry object are dropped.
    """

    def __init__(self, access: EtcdAccess, layout: Layout, ttl_seconds: int) -> None:
        self._access = access
        self._layout = layout
        self._ttl_seconds = ttl_seconds
        # All registrations share one lease, as one thread uses them.
        self._lease: SharedLease | None = None

    def open_lookup(self, service: str) -> "EtcdLookup":
        return EtcdLookup(Gateway(self._access), f"{self._layout.prefix}{service}/", self._layout.read)

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        self._layout.record(endpoint)
        if self._lease is None:
            self._lease = SharedLease(Gateway(self._access), self._ttl_seconds)
        kind = RpcxEtcdLease if isinstance(self._layout, RpcxLayout) else EtcdLease
        return kind(self._lease, self._layout, service, endpoint)

    def list_services(self) -> Iterable[str]:
        gateway, start = Gateway(self._access), len(self._layout.prefix)
        try:
            pages = gateway.pages(self._layout.prefix, keys_only=True)
            parts = [
                one.key.decode("utf-8", "replace")[start:].partition("/")
                for page in pages
                for one in page.kvs
            ]
        finally:
            gateway.close()
        return {service for service, slash, _ in parts if slash}

    def close(self) -> None:
        if self._lease is not None:
            self._lease.gateway.close()


class EtcdLookup:
    """Reads the keys of a service, then watches them from the revision at which they were read."""

    def __init__(
        self,
        gateway: Gateway,
        prefix: str,
        read: Callable[[str, bytes], Entry | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateway = gateway
        self._prefix = prefix
        self._decoded = DecodedRecords(read)
        self._clock = clock
        self._records: dict[str, bytes] = {}
        # The revision up to which the records are known, and the cluster that counts it.
        self._revision = self._cluster = 0
        self._watch: KeyWatch | None = None
        self._proven_at = 0.0

    def fetch(self, wait_seconds: float) -> Listing:
        is_restart = False
        try:
            if wait_seconds <= 0 or not self._revision or self._has_to_read_again(wait_seconds):
                is_restart = self._read()
        except StoreError:
            self._watch = None
            raise
        return Listing(self._decoded.entries(self._records.items()), is_restart=is_restart)

    def close(self) -> None:
        self._gateway.close()

    def _read(self) -> bool:
        """Read all records; return whether the cluster has lost changes, as after a restored backup."""
        records: dict[str, bytes] = {}
        header: Header | None = None
        for page in self._gateway.pages(self._prefix):
            header = header or page.header
            records |= {self._name(one.key): one.value for one in page.kvs}
            if len(records) > MOST_ENDPOINTS:
                # Further ones would be ignored.
                break
        assert header is not None
        went_back = bool(self._revision) and self._went_back(header)
        self._records, self._watch = records, None
        self._revision, self._cluster = header.revision, header.cluster_id
        self._proven_at = self._clock()
        return went_back

    def _has_to_read_again(self, wait_seconds: float) -> bool:
        """Wait for changes and apply them; return whether some may be missing."""
        try:
            if self._watch is None:
                self._watch = self._gateway.watch(self._prefix, self._revision + 1)
            left = max(0.0, self._proven_at + PROOF_SECONDS - self._clock())
            self._apply(self._watch.receive(min(wait_seconds, left)))
            return self._clock() >= self._proven_at + PROOF_SECONDS and not self._proves(self._watch)
        except StoreError as error:
            if error.status is Status.OUT_OF_RANGE:
                # The changes from that revision on are compacted.
                return True
            raise

    def _apply(self, changes: list[KeyChange] | None) -> None:
        """Apply changes, and those that have come meanwhile, as many as a list may have: then it is told."""
        left = MOST_ENDPOINTS
        while changes and self._watch is not None:
            left -= len(changes)
            for change in changes:
                name = self._name(change.kv.key)
                self._revision = max(self._revision, change.kv.mod_revision)
                if change.type == "DELETE":
                    self._records.pop(name, None)
                elif name in self._records or len(self._records) <= MOST_ENDPOINTS:
                    self._records[name] = change.kv.value
            changes = self._watch.receive(0.0) if left > 0 else None

    def _proves(self, watch: KeyWatch) -> bool:
        """Return whether the records are those of a member with a quorum, by a read of one key."""
        request = prefix_range(self._prefix) | {"limit": 1, "min_mod_revision": self._revision + 1}
        found = self._gateway.ask("kv/range", request, Range)
        if self._went_back(found.header):
            return False
        self._proven_at = self._clock()
        if not found.kvs and found.count == len(self._records):
            return True
        # A change is under way, or the watch is dead.
        changes = watch.receive(UNDER_WAY_SECONDS)
        self._apply(changes)
        return bool(changes)

    def _went_back(self, header: Header) -> bool:
        return header.revision < self._revision or header.cluster_id != self._cluster

    def _name(self, key: bytes) -> str:
        return key.decode("utf-8", "replace")[len(self._prefix) :]


class _Granted(msgspec.Struct):
    ID: int = 0
    TTL: int = 0


class _KeptAlive(msgspec.Struct):
    result: _Granted


class _Deposit(msgspec.Struct):
    header: Header
    succeeded: bool = False


class SharedLease:
    """The lease of etcd under which all records of a registry object are."""

    def __init__(
        self, gateway: Gateway, ttl_seconds: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.gateway = gateway
        self.renew_seconds = ttl_seconds / 3
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._id = 0
        self._renewed_at = 0.0
        self._keys: set[str] = set()

    def hold(self, key: str) -> int:
        """Return the lease for a key, renewed if half of the time to its renewal has passed, or granted anew."""
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
        """Grant another lease next time."""
        self._id = 0

    def abandon(self, key: str) -> None:
        """Leave a key that could not be deleted: it ends with this lease, so the others go to another one."""
        self._keys.discard(key)
        self.lose()

    def leave(self, key: str) -> None:
        """Revoke the lease with its last key."""
        self._keys.discard(key)
        if self._id and not self._keys:
            lease, self._id = self._id, 0
            self.gateway.ask("lease/revoke", {"ID": str(lease)}, _Granted)


class EtcdLease:
    """The record of one endpoint.

    Of two registrations of one address, the later one writes the record, and the other one writes it again once it is
    gone.
    """

    def __init__(self, lease: SharedLease, layout: Layout, service: str, endpoint: Endpoint) -> None:
        self.renew_seconds = lease.renew_seconds
        self._shared = lease
        self._layout = layout
        self._service = service
        self._endpoint = endpoint
        name, self._value = layout.record(endpoint)
        self._key = f"{layout.prefix}{service}/{name}"
        self._lease = 0
        #: The revision at which this wrote the key; 0 if that is unknown.
        self._revision = 0

    def acquire(self) -> None:
        lease = self._shared.hold(self._key)
        is_kept = self._lease == lease and self._revision
        self._lease, revision, self._revision = lease, self._revision, 0
        try:
            # A record that is as this wrote it stays.
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
        # A record that another server has taken over is there as well.
        return bool(self._ask("kv/range", {"key": self._key.encode()}, Range).kvs)

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
        return {"request_put": {"key": self._key.encode(), "value": self._value, "lease": str(lease)}}

    def _write(self, target: str, value: int, success: list[Any], failure: list[Any]) -> _Deposit:
        """Do one or the other, depending on a property of the key."""
        field = "mod_revision" if target == "MOD" else "lease"
        compare = [{"key": self._key.encode(), "target": target, field: str(value), "result": "EQUAL"}]
        return self._ask("kv/txn", {"compare": compare, "success": success, "failure": failure}, _Deposit)

    def _ask(self, path: str, request: dict[str, Any], kind: type[T]) -> T:
        return self._shared.gateway.ask(path, request, kind)


class RpcxEtcdLease(EtcdLease):
    """A record of rpcx, whose server can leave; the key of its service is written with it."""

    def acquire(self) -> None:
        super().acquire()
        key = f"{self._layout.prefix}{self._service}".encode()
        self._ask("kv/put", {"key": key, "value": self._service.encode()}, _Granted)

    def retire(self) -> bool:
        _, self._value = self._layout.record(self._endpoint, is_leaving=True)
        # A key that another server has taken over stays as that one wrote it.
        found = self._write("MOD", self._revision or -1, [self._put(self._lease)], [])
        if found.succeeded:
            self._revision = found.header.revision
        return found.succeeded
