"""The registry of a host: leases over the record files of its folder."""

from collections.abc import Iterable

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError
from fastrpc.registries.base.announced import AnnouncedLookup
from fastrpc.registries.base.backend import Lease, Lookup
from fastrpc.registries.base.record import encode_record
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.host.folder import host_socket
from fastrpc.registries.host.node import HostNode
from fastrpc.status import Status

__all__ = ["HostBackend", "HostLease"]


class HostBackend:
    """The host folder of this user."""

    def __init__(self, node: HostNode) -> None:
        self._node = node

    def open_lookup(self, service: str) -> Lookup:
        return SingleLookup(self.open_shared(), service)

    def open_shared(self) -> AnnouncedLookup:
        return AnnouncedLookup(self._node)

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        name = host_socket(endpoint.address, self._node.path)
        if name is None:
            raise ConfigError(
                f"{endpoint} is not a socket of the host folder {self._node.path!r}",
                hint="listen at any://",
                status=Status.UNIMPLEMENTED,
            )
        return HostLease(self._node, name, service, encode_record(endpoint))

    def list_services(self) -> Iterable[str]:
        return self._node.services()

    def close(self) -> None:
        self._node.close()


class HostLease:
    """One service of a socket of this process."""

    #: Seconds between two checks whether the file was removed. The lock itself needs no renewal.
    renew_seconds = 1.0

    def __init__(self, node: HostNode, socket_name: str, service: str, record: bytes) -> None:
        self._node = node
        self._socket_name = socket_name
        self._service = service
        self.record = record

    def acquire(self) -> None:
        self._node.publish(self._socket_name, self._service, self.record)

    def renew(self) -> bool:
        return self._node.holds(self._socket_name, self._service)

    def rewrite(self) -> bool:
        if not self.renew():
            return False
        # The new file exists before the old one is removed.
        self.acquire()
        return True

    def release(self) -> None:
        self._node.withdraw(self._socket_name, self._service)
