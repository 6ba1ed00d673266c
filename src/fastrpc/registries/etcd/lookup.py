"""Follow keys of etcd: read the lists of services once, then receive their changes from one watch."""

import threading
import time
from collections.abc import Callable, Mapping

from fastrpc.errors import StoreError
from fastrpc.registries.base.backend import Entry, Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.etcd.gateway import Gateway, Header, KeyChange, KeyWatch, Range, prefix_range
from fastrpc.status import Status

__all__ = ["EtcdLookup"]

#: Seconds between two checks that the member has a quorum and that the watch missed no change.
PROOF_SECONDS = 15.0

#: Seconds between two searches for values that the watch missed. Such a search is expensive: etcd reads the values of
#: all keys.
VALUES_SECONDS = 60.0

#: The most seconds that a change may need from the member to the watch.
UNDER_WAY_SECONDS = 0.5


class _Keys:
    """The keys of one service."""

    def __init__(self, read: Callable[[str, bytes], Entry | None]) -> None:
        self.decoded = DecodedRecords(read)
        self.records: dict[str, bytes] = {}
        #: The revision of the last read, even a failed one; 0 if the keys have to be read.
        self.revision = 0
        #: The reason why the keys could not be read.
        self.error: StoreError | None = None


class EtcdLookup:
    """Reads the keys of services, then watches them from the revision at which they were read.

    The watch follows one service, or all keys that begin with `prefix`.
    """

    def __init__(
        self,
        gateway: Gateway,
        prefix: str,
        read: Callable[[str, bytes], Entry | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateway, self._prefix = gateway, prefix
        self._read, self._clock = read, clock
        self._keys: dict[str, _Keys] = {}
        # `_revision`: the revision up to which the keys are known. `_cluster`: the ID of the cluster to which this
        # revision belongs.
        self._revision = self._cluster = 0
        self._has_restarted = self._is_closed = False
        # The services with changes that `fetch` has not returned yet.
        self._changed: set[str] = set()
        self._watch: KeyWatch | None = None
        # The prefix of the watch.
        self._watched = ""
        # The number of keys with that prefix; None if unknown.
        self._count: int | None = None
        self._proven_at = self._searched_at = 0.0
        # Held while a wait is interrupted. The interruption closes the watch, and the next wait opens it again.
        self._waking = threading.Lock()
        self._is_woken = self._is_waiting = False

    def follow(self, services: frozenset[str], again: frozenset[str]) -> None:
        self._keys = {service: self._keys.get(service) or _Keys(self._read) for service in services}
        for service in again:
            self._keys[service].revision = 0
        watched = f"{self._prefix}{next(iter(services))}/" if len(services) == 1 else self._prefix
        if watched != self._watched:
            self._watched, self._watch, self._count = watched, None, None

    def fetch(self, wait_seconds: float) -> Mapping[str, Listing | StoreError]:
        try:
            self._read_missing()
            if wait_seconds > 0 and not self._changed:
                self._wait(wait_seconds)
                self._read_missing()
        except StoreError:
            self._watch = None
            self._forget()
            raise
        finally:
            with self._waking:
                self._is_woken = self._is_waiting = False
        is_restart, self._has_restarted = self._has_restarted, False
        changed, self._changed = self._changed, set()
        return {
            service: keys.error or Listing(keys.decoded.entries(keys.records.items()), is_restart=is_restart)
            for service, keys in self._keys.items()
            if service in changed
        }

    def wake(self) -> None:
        with self._waking:
            self._is_woken = True
            if self._is_waiting:
                self._gateway.interrupt()

    def close(self) -> None:
        self._is_closed = True
        self._gateway.close()

    def _forget(self) -> None:
        """Make the next `fetch` read all keys again."""
        for keys in self._keys.values():
            keys.revision = 0

    def _read_missing(self) -> None:
        """Read the keys of all services that have not been read."""
        while missing := [service for service, keys in self._keys.items() if not keys.revision]:
            for service in missing:
                self._read_keys(service)
                self._changed.add(service)

    def _read_keys(self, service: str) -> None:
        prefix, keys = f"{self._prefix}{service}/", self._keys[service]
        try:
            keys.records, first = self._paged(prefix)
            keys.error = None
        except StoreError as error:
            if error.status not in (Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED):
                raise
            # The failure concerns this list only, unless counting its keys fails too.
            first = self._gateway.ask("kv/range", prefix_range(prefix) | {"count_only": True}, Range)
            keys.records, keys.error = {}, error
        if self._revision and self._went_back(first.header):
            # The cluster has lost changes, for example after a backup was restored.
            if self._has_restarted:
                # The next call reads all lists again; this is still the same restart.
                self._revision = 0
                raise StoreError("etcd: its revision decreases again and again")
            self._has_restarted = True
            self._forget()
        if not any(one.revision for one in self._keys.values()):
            # No other keys are known yet, so the watch starts at this revision.
            self._revision, self._cluster = first.header.revision, first.header.cluster_id
            self._watch = None
            self._proven_at = self._searched_at = self._clock()
            self._count = first.count if self._watched == prefix else None
        keys.revision = first.header.revision

    def _paged(self, prefix: str) -> tuple[dict[str, bytes], Range]:
        """Return the keys with a prefix, without keys that would be ignored, and the first page."""
        records: dict[str, bytes] = {}
        first: Range | None = None
        for page in self._gateway.pages(prefix):
            first = first or page
            records |= {one.key.decode("utf-8", "replace")[len(prefix) :]: one.value for one in page.kvs}
            if len(records) > MOST_ENDPOINTS:
                break
        assert first is not None
        return records, first

    def _wait(self, wait_seconds: float) -> None:
        """Wait for changes and apply them. Keys whose changes may be lost have to be read again."""
        try:
            if self._watch is None or self._watch.is_closed:
                self._watch = self._opened()
            left = max(0.0, self._proven_at + PROOF_SECONDS - self._clock())
            with self._waking:
                self._is_waiting = not self._is_woken
            if not self._is_waiting:
                return
            self._apply(self._watch.receive(min(wait_seconds, left)))
            if self._clock() >= self._proven_at + PROOF_SECONDS and not self._proves(self._watch):
                self._forget()
        except StoreError as error:
            if self._watch is not None and self._watch.is_closed and not self._is_closed:
                # The next watch continues at the known revision.
                return
            if error.status is Status.OUT_OF_RANGE:
                # etcd has compacted the changes since the known revision.
                self._forget()
            else:
                raise

    def _opened(self) -> KeyWatch:
        if self._count is None:
            request = prefix_range(self._watched) | {"count_only": True, "revision": self._revision}
            self._count = self._gateway.ask("kv/range", request, Range).count
        return self._gateway.watch(self._watched, self._revision + 1)

    def _apply(self, changes: list[KeyChange] | None) -> None:
        """Apply changes and further changes that have already arrived, up to the limit of a list."""
        left = MOST_ENDPOINTS
        while changes and self._watch is not None:
            left -= len(changes)
            for change in changes:
                self._apply_one(change)
            changes = self._watch.receive(0.0) if left > 0 else None

    def _apply_one(self, change: KeyChange) -> None:
        key, revision = change.kv.key.decode("utf-8", "replace"), change.kv.mod_revision
        is_deleted = change.type == "DELETE"
        self._revision = max(self._revision, revision)
        if self._count is not None:
            self._count += -1 if is_deleted else change.kv.version == 1
        service, _, name = key[len(self._prefix) :].partition("/")
        keys = self._keys.get(service)
        if keys is None or keys.error is not None or revision <= keys.revision:
            # The list was read after the change and contains it, or the list will be read again.
            return
        if is_deleted:
            keys.records.pop(name, None)
        elif name in keys.records or len(keys.records) <= MOST_ENDPOINTS:
            keys.records[name] = change.kv.value
        self._changed.add(service)

    def _proves(self, watch: KeyWatch) -> bool:
        """Return whether a member with a quorum confirms the number of keys that the watch knows."""
        found = self._gateway.ask("kv/range", prefix_range(self._watched) | {"count_only": True}, Range)
        if self._went_back(found.header):
            return False
        self._proven_at = self._clock()
        if found.count == self._count and not self._has_newer(found.header):
            return True
        # Wait briefly: a change may be on its way. If none arrives, the watch is dead.
        self._apply(changes := watch.receive(UNDER_WAY_SECONDS))
        return bool(changes)

    def _has_newer(self, header: Header) -> bool:
        """Return whether a key was written after the known revision. Query only if a check is due."""
        if header.revision == self._revision or self._clock() < self._searched_at + VALUES_SECONDS:
            return False
        self._searched_at = self._clock()
        newer = {"limit": 1, "keys_only": True, "min_mod_revision": self._revision + 1}
        return bool(self._gateway.ask("kv/range", prefix_range(self._watched) | newer, Range).kvs)

    def _went_back(self, header: Header) -> bool:
        return header.revision < self._revision or header.cluster_id != self._cluster
