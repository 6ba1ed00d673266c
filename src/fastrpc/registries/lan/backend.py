"""Lookups and leases over announcements."""

from collections.abc import Iterable

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, StoreError
from fastrpc.registries.base.announced import AnnouncedLookup
from fastrpc.registries.base.backend import Lease
from fastrpc.registries.base.record import encode_record
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.lan.datagrams import RECORD_BYTES
from fastrpc.registries.lan.node import ANNOUNCE_SECONDS, LanNode

__all__ = ["LanBackend", "LanLease"]


class LanBackend:
    """A backend over the announcements of instances.

    Args:
        is_encrypted: True to refuse servers at addresses other than `tls://`.
    """

    def __init__(self, node: LanNode, *, is_encrypted: bool = False) -> None:
        self._node = node
        self._is_encrypted = is_encrypted

    def open_lookup(self, service: str) -> SingleLookup:
        return SingleLookup(self.open_shared(), service)

    def open_shared(self) -> AnnouncedLookup:
        return AnnouncedLookup(self._node)

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        if self._is_encrypted and endpoint.address.scheme != "tls":
            raise ConfigError(
                f"{endpoint.address} is not encrypted, and the registry has a LAN pass",
                hint="listen at tls:// with the pass: --tls-cert FILE --tls-ca FILE, or ServerConfig.tls",
            )
        record = encode_record(endpoint)
        size = len(service.encode()) + len(record)
        if size > RECORD_BYTES:
            raise ConfigError(
                f"{endpoint} has a record of {size} bytes with its service, a datagram holds {RECORD_BYTES}",
                hint="give it fewer labels",
            )
        return LanLease(self._node, service, record)

    def list_services(self) -> Iterable[str]:
        self._node.start()
        with self._node.changed:
            self._node.wait(lambda: True, 0.0, self._node.hears_others)
            return self._node.members.services()

    def close(self) -> None:
        self._node.close()


class LanLease:
    """One record of this program, which the node announces again and again."""

    renew_seconds = ANNOUNCE_SECONDS

    def __init__(self, node: LanNode, service: str, record: bytes) -> None:
        self._node = node
        self._service = service
        self.record = record
        # The record that is announced now.
        self._announced: bytes | None = None

    def acquire(self) -> None:
        if self._announced is None:
            self._node.publish(self._service, self.record)
            self._announced = self.record
        self.rewrite()

    def renew(self) -> bool:
        if self._node.error is not None:
            raise StoreError(f"announcements cannot be sent: {self._node.error}") from self._node.error
        return self._announced is not None

    def rewrite(self) -> bool:
        before = self._announced
        if before is not None and before != self.record:
            self._node.replace(self._service, before, self.record)
            self._announced = self.record
        return self.renew()

    def release(self) -> None:
        if self._announced is not None:
            announced, self._announced = self._announced, None
            self._node.withdraw(self._service, announced)
