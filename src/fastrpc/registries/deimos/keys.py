"""The layout of Phobos in Deimos, so that servers and clients of fastrpc and Phobos find each other.

::

    <base>/<service>/<network>@<host>:<port>  the metadata as a URL query: weight=5&group=a

A key has a time to live (TTL), and is set again after each third of the TTL. So clients of Phobos that lost an event
soon get another.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import CompactedError, StoreError
from fastrpc.registries.base.backend import Lease, Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.rpcx_record import RpcxRecord, base_path, read_rpcx_record
from fastrpc.registries.deimos.node import DeimosAccess, DeimosClient, is_nothing
from fastrpc.status import Status

__all__ = ["DeimosLease", "DeimosLookup", "PhobosKeys"]

#: Seconds after which a list is read again, because Deimos may lose events.
READ_SECONDS = 15.0


class PhobosKeys:
    """A backend over the keys below a base path.

    Args:
        ttl_seconds: seconds without renewal after which a record expires.
    """

    def __init__(self, access: DeimosAccess, *, base: str, ttl_seconds: int) -> None:
        self._access = access
        self._base = base_path(base)
        self._ttl_seconds = ttl_seconds
        # All leases share this client, because one thread uses all leases.
        self._client: DeimosClient | None = None

    def open_lookup(self, service: str) -> "DeimosLookup":
        return DeimosLookup(DeimosClient(self._access), f"{self._base}/{service}")

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        record = RpcxRecord(endpoint)
        if self._client is None:
            self._client = DeimosClient(self._access)
        return DeimosLease(self._client, f"{self._base}/{service}/{record.key}", record, self._ttl_seconds)

    def list_services(self) -> Iterable[str]:
        with contextlib.closing(DeimosClient(self._access)) as client:
            try:
                found = client.get(self._base)
            except StoreError as error:
                if is_nothing(error):
                    return []
                raise
        return [node.key.rpartition("/")[2] for node in found.node.nodes if node.dir]

    def remove(self, service: str, address: Address) -> bool:
        key = f"{self._base}/{service}/{RpcxRecord(Endpoint(address)).key}"
        with contextlib.closing(DeimosClient(self._access)) as client:
            return _removed(client, key)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


class DeimosLookup:
    """Reads all keys of a service, and waits for an event."""

    def __init__(
        self, client: DeimosClient, folder: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._folder = folder
        self._clock = clock
        self._decoded = DecodedRecords(lambda key, value: read_rpcx_record(key, value, wire="phobos"))
        # `_index`: the index of the list, 0 if the list has to be read. `_latest`: the index of the last list that was
        # read; unlike `_index` it stays after a failure.
        self._index = self._latest = 0

    def fetch(self, wait_seconds: float) -> Listing:
        if self._index and wait_seconds > 0:
            self._wait(min(wait_seconds, READ_SECONDS))
        self._index = 0
        try:
            found = self._client.get(self._folder, recursive=True)
        except StoreError as error:
            if not is_nothing(error):
                raise
            records, index = [], getattr(error, "index", 0)
        else:
            records = [(node.key.rpartition("/")[2], node.value.encode()) for node in found.node.keys()]  # noqa: SIM118
            index = found.index
        before, self._index, self._latest = self._latest, index, index
        return Listing(self._decoded.entries(records), is_restart=index < before)

    def close(self) -> None:
        self._client.close()

    def _wait(self, wait_seconds: float) -> None:
        """Wait for an event, at most `wait_seconds`."""
        until = self._clock() + wait_seconds
        while (left := until - self._clock()) > 0:
            try:
                begun = self._clock()
                event = self._client.wait(self._folder, self._index + 1, recursive=True, seconds=left)
            except CompactedError:
                return
            if event is not None:
                return
            # If a wait returns early without an event, pause before the next wait.
            time.sleep(max(0.0, min(0.25 - (self._clock() - begun), left)))


class DeimosLease:
    """The record of one endpoint."""

    def __init__(self, client: DeimosClient, key: str, record: RpcxRecord, ttl_seconds: int) -> None:
        self.renew_seconds = ttl_seconds / 3
        self._client = client
        self._key = key
        self.record = record
        self._ttl_seconds = ttl_seconds
        # The index at which this lease last wrote the key; 0 if it never did.
        self._index = 0

    def acquire(self) -> None:
        self._index = self._client.put(self._key, self._form()).node.modified_index

    def renew(self) -> bool:
        try:
            if not self._is_rewritten(self._index):
                # Either another server took over the key, whose value is kept, or the answer to our last write was
                # lost.
                node = self._client.get(self._key).node
                if node.value == self._form()["value"]:
                    self._is_rewritten(node.modified_index)
        except StoreError as error:
            if is_nothing(error):
                return False
            raise
        return True

    def rewrite(self) -> bool:
        return self.renew()

    def release(self) -> None:
        if self._index:
            # Delete the key only if no other server has written it since.
            _removed(self._client, self._key, self._index)

    def _form(self) -> dict[str, Any]:
        return {"value": self.record.value().decode(), "ttl": self._ttl_seconds}

    def _is_rewritten(self, index: int) -> bool:
        """Write the record again if the key's index is `index`; return False if the key has another index."""
        try:
            self._index = self._client.put(self._key, self._form() | {"prevIndex": index}).node.modified_index
        except StoreError as error:
            if error.status is Status.ABORTED:
                return False
            raise
        return True


def _removed(client: DeimosClient, key: str, index: int | None = None) -> bool:
    """Delete a key if its index is `index`, or with any index for None; return whether the key was deleted."""
    try:
        client.delete(key, index)
    except StoreError as error:
        if is_nothing(error) or error.status is Status.ABORTED:
            return False
        raise
    return True
