"""Follow EndpointSlices like the reflector of client-go: read a list, then watch from its version on."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from fastrpc.bounded_http import HttpError, decoded
from fastrpc.config.delays import Delays
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, StoreError
from fastrpc.registries.base.backend import Entry, Lease, Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.poller import BACKOFF
from fastrpc.registries.base.record import RecordError, read_texts
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.kubernetes.api import Api, ApiAccess, ObjectMeta
from fastrpc.registries.kubernetes.slices import Reading, Slice, chosen, read_slice, selector_of
from fastrpc.status import Status

__all__ = ["KubernetesSlices", "SliceLookup"]

logger = logging.getLogger("fastrpc.registry")

#: Seconds without data after which a new watch is opened. The apiserver sends a bookmark each minute.
SILENT_SECONDS = 90.0

#: A watch that lasts less than this counts as failed, as in client-go.
SHORT_SECONDS = 1.0

#: The most events that are applied before `fetch` returns, so that they cannot delay it for long.
EVENTS_AT_ONCE = 1_000

#: The most endpoints of all services together. Further endpoints are ignored.
MOST_SHARED = 100_000

#: Without permission to watch: seconds between two lists, and seconds until a watch is tried again.
LIST_SECONDS, WATCH_AGAIN_SECONDS = 5.0, 60.0


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Object(msgspec.Struct):
    metadata: ObjectMeta


class KubernetesSlices:
    """A backend over the EndpointSlices of a namespace."""

    def __init__(self, access: ApiAccess, reading: Reading) -> None:
        self._access = access
        self._reading = reading

    def open_lookup(self, service: str) -> SingleLookup:
        selector_of(service)
        return SingleLookup(self.open_shared(), service)

    def open_shared(self) -> "SliceLookup":
        return SliceLookup(self._access, self._reading)

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        raise ConfigError(
            "Kubernetes registers pods by itself, servers cannot",
            status=Status.UNIMPLEMENTED,
            hint="leave the registry out: a Service lists its pods while their readiness probes succeed",
        )

    def list_services(self) -> Iterable[str]:
        api = Api(self._access, "")
        try:
            listed = _Slices(api, self._reading, MOST_SHARED)
            listed.read()
            return {name for each in listed.found.values() for name in each.own_services}
        finally:
            api.close()

    def close(self) -> None:
        """Do nothing: there are no resources."""


class _Slices:
    """The slices that a selector selects, kept up to date step by step.

    Args:
        most: the most endpoints. Further endpoints are ignored.
    """

    def __init__(self, api: Api, reading: Reading, most: int) -> None:
        self._api = api
        self._reading = reading
        self._most = most
        self.found: dict[str, Slice] = {}
        #: The services whose slices have changed since the last `fetch`, which empties this set.
        self.changed: set[str] = set()
        # The number of endpoints in all slices. An empty slice counts as one endpoint.
        self._size = 0
        #: The version of the last list or event.
        self.version = ""

    @property
    def is_full(self) -> bool:
        """True if there are too many endpoints, so that further slices are ignored."""
        return self._size > self._most

    def read(self) -> bool:
        """Read all slices; return whether their version decreased, for example because a backup was restored.

        Raises:
            StoreError: the slices cannot be read. The status OUT_OF_RANGE means that a page has expired.
        """
        read, version = _Slices(self._api, self._reading, self._most), ""
        for page in self._api.pages():
            version = page.metadata.resource_version
            with self._api.errors():
                for text in page.items or ():
                    read.put(read_slice(text, self._reading))
            if read.is_full:
                # Further slices would be ignored.
                break
        before = self.version
        with self._api.errors():
            self.note_version(version)
        self.found, self._size = read.found, read._size
        return _is_before(version, before)

    def apply(self, line: bytes) -> None:
        """Apply an event of a watch.

        Raises:
            StoreError: with status OUT_OF_RANGE: the slices have to be read again.
        """
        with self._api.errors():
            event = decoded(line, _Event)
            if event.type in ("ADDED", "MODIFIED", "DELETED"):
                each = read_slice(event.object, self._reading)
                self._note_later(each.version)
                self.drop(each.name)
                if event.type != "DELETED":
                    self.put(each)
            elif event.type == "BOOKMARK":
                self._note_later(decoded(bytes(event.object), _Object).metadata.resource_version)
            else:
                # The event is an ERROR, for example with status 410, or has a type that later versions added.
                raise StoreError(f"the watch has sent {event.type[:40]!r}", status=Status.OUT_OF_RANGE)

    def put(self, each: Slice) -> None:
        """Add a slice, unless there are too many."""
        if self._size <= self._most:
            self.found[each.name] = each
            self._size += _size(each)
            self.changed |= each.services

    def drop(self, name: str) -> None:
        """Remove a slice, if it exists."""
        each = self.found.pop(name, None)
        if each is not None:
            self._size -= _size(each)
            self.changed |= each.services

    def _note_later(self, version: str) -> None:
        """Store the version of an event."""
        if _is_before(version, self.version):
            # A backup may have been restored. The next list shows the restored version.
            raise StoreError(f"the version went back to {version[:40]!r}", status=Status.OUT_OF_RANGE)
        self.note_version(version)

    def note_version(self, version: str) -> None:
        if not version:
            raise HttpError("the answer has no resourceVersion")
        self.version = version


class SliceLookup:
    """Follows the slices of services: of a single service by its label, of several by the whole namespace.

    Args:
        clock: returns monotonic time in seconds.
    """

    def __init__(
        self, access: ApiAccess, reading: Reading, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._access = access
        self._reading = reading
        self._services: dict[str, DecodedRecords] = {}
        # The services whose lists `fetch` must return, even if they have not changed.
        self._due: set[str] = set()
        self._clock = clock
        self._selector = ""
        self._api = Api(access, "")
        self._slices = _Slices(self._api, reading, MOST_SHARED)
        self._has_to_list = True
        # True after a failure. If a watch can be opened, the outage has ended.
        self._is_away = False
        # The pauses after lists that were read again because a watch failed.
        self._delays = Delays(BACKOFF)
        # The time at which the watch was opened, and the time at which it last received a line.
        self._opened_at = self._heard_at = 0.0
        # Whether the watch has received a line.
        self._has_events = False
        # After a watch was forbidden, no watch is opened before this time.
        self._refused_until = float("-inf")
        # Held while a wait is interrupted, which ends its watch. Re-entrant, because a finalizer may close the lookup.
        self._waking = threading.RLock()
        self._is_woken = self._is_waiting = self._is_closed = False

    def follow(self, services: frozenset[str], again: frozenset[str]) -> None:
        self._due |= again | (services - self._services.keys())
        self._services = {name: self._services.get(name) or DecodedRecords(_read) for name in services}
        self._has_to_list = self._has_to_list or bool(again)
        selector = selector_of(next(iter(services))) if len(services) == 1 else ""
        if selector != self._selector:
            self._select(selector)

    def _select(self, selector: str) -> None:
        """Follow the slices that another selector selects."""
        version = self._slices.version
        with self._waking:
            self._api.close()
            self._selector, self._api = selector, Api(self._access, selector)
            if self._is_closed:
                self._api.close()
        self._slices = _Slices(self._api, self._reading, MOST_ENDPOINTS if selector else MOST_SHARED)
        self._slices.version = version
        self._has_to_list = True

    def fetch(self, wait_seconds: float) -> Mapping[str, Listing]:
        pause, is_restart = 0.0, False
        try:
            if not self._has_to_list and (self._is_away or (wait_seconds > 0 and not self._due)):
                pause = self._follow(0.0 if self._is_away else wait_seconds)
            if self._has_to_list:
                is_restart = self._list()
            elif self._is_away and not self._api.is_watching:
                # The wait was interrupted before an answer arrived.
                return {}
            if self._is_away or self._has_to_list:
                self._due |= self._services.keys()
            self._is_away = self._has_to_list = False
        except StoreError:
            self._is_away = True
            self._api.end_watch()
            raise
        finally:
            with self._waking:
                if self._is_woken and self._is_waiting:
                    # The interruption ends the watch. The next watch continues at the same version.
                    self._api.end_watch()
                self._is_woken = self._is_waiting = False
        changed, self._due = (self._due | self._slices.changed) & self._services.keys(), set()
        self._slices.changed.clear()
        return self._listings(changed, pause, is_restart=is_restart)

    def _listings(self, services: set[str], pause: float, *, is_restart: bool) -> dict[str, Listing]:
        slices: dict[str, list[Slice]] = {service: [] for service in services}
        for each in self._slices.found.values():
            for service in each.services & services:
                slices[service].append(each)
        listings = {}
        for service, found in slices.items():
            decoded_records = self._services[service]
            entries: list[Entry] = decoded_records.entries((one.address, one.texts) for one in chosen(found))
            entries += [(each.name, each.error) for each in found if each.error is not None]
            listings[service] = Listing(entries, pause_seconds=pause, is_restart=is_restart)
        return listings

    def wake(self) -> None:
        with self._waking:
            self._is_woken = True
            if self._is_waiting:
                self._api.interrupt()

    def close(self) -> None:
        with self._waking:
            self._is_closed = True
            self._api.close()

    def _list(self) -> bool:
        """Read all slices, twice if a page expires; return whether the apiserver has lost changes."""
        try:
            went_back = self._slices.read()
        except StoreError as error:
            if error.status is not Status.OUT_OF_RANGE:
                raise
            # A page had expired: read all pages again.
            went_back = self._slices.read()
        return went_back

    def _follow(self, wait_seconds: float) -> float:
        """Wait for changes and apply them; return the seconds to pause after the next list, 0 if none is needed."""
        try:
            if self._api.is_watching or self._opens():
                with self._waking:
                    self._is_waiting = not self._is_woken
                if self._is_waiting:
                    self._receive(wait_seconds)
                return 0.0
            pause = LIST_SECONDS
        except StoreError as error:
            if self._is_woken and not self._is_closed:
                return 0.0
            # If a watch could not be opened, try again later at the same version, unless the refusal is final.
            self._has_to_list = self._api.is_watching or getattr(error, "is_final", False)
            if error.status is not Status.OUT_OF_RANGE:
                raise
            # The apiserver no longer has the changes since the version of the watch.
            self._api.end_watch()
            pause = self._delays.take()
        self._has_to_list = True
        return pause

    def _opens(self) -> bool:
        """Open a watch; return False if this program has no permission to watch."""
        now = self._clock()
        if now < self._refused_until:
            return False
        try:
            self._api.watch(self._slices.version)
        except StoreError as error:
            if error.status is not Status.PERMISSION_DENIED:
                raise
            if self._refused_until == float("-inf"):
                logger.warning(
                    "slices are listed every %g s, as they cannot be watched: %s", LIST_SECONDS, error
                )
            self._refused_until = now + WATCH_AGAIN_SECONDS
            return False
        self._opened_at = self._heard_at = now
        self._has_events = False
        return True

    def _receive(self, wait_seconds: float) -> None:
        """Wait for an event, then apply it and all further events that have arrived."""
        line = self._api.receive(wait_seconds)
        for left in reversed(range(EVENTS_AT_ONCE)):
            if not line:
                break
            self._heard_at = self._clock()
            self._has_events = True
            self._slices.apply(line)
            line = self._api.receive(0.0) if left else None
        now = self._clock()
        if now - self._opened_at >= SHORT_SECONDS:
            self._delays.reset()
        elif line == b"" and not (self._has_events or self._is_woken):
            raise StoreError("the watch ended at once", status=Status.OUT_OF_RANGE)
        if now - self._heard_at >= SILENT_SECONDS:
            # Opening the next watch shows whether the apiserver still answers.
            self._api.end_watch()


def _is_before(version: str, other: str) -> bool:
    """Return whether a version is below another one; False if either is not a number."""
    are_numbers = version.isdecimal() and other.isdecimal()
    # Compare as text, because the numbers may have any length.
    return are_numbers and (len(version), version) < (len(other), other)


def _size(each: Slice) -> int:
    return max(1, len(each.members))


def _read(address: str, texts: dict[str, str]) -> Entry:
    try:
        return address, read_texts(address, texts)
    except RecordError as error:
        return address, error
