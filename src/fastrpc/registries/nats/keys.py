"""Endpoints as keys of a bucket: lookups, and registrations.

A key is `<service>.<address>`. Each part is in URL-safe base64, because keys may contain neither `:` nor `@`.
"""

import asyncio
import binascii
import contextlib
import queue
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nats.errors import ConnectionClosedError
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import StoreError
from fastrpc.registries.base.backend import Lease, Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.layouts import FastrpcLayout
from fastrpc.registries.base.poller import WakeFlag
from fastrpc.registries.base.record import encode_record
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.nats.session import BucketSession

__all__ = ["BucketLease", "BucketLookup", "NatsKeys"]

#: The most keys of all services together. Further keys are ignored.
MOST_KEYS = 100_000

#: Seconds after which the server deletes a consumer without a subscriber.
_IDLE_SECONDS = 1.0

#: The number of keys that are read concurrently.
_READ_AT_ONCE = 200

#: Error codes that mean that another program has written the key.
_WRITTEN_BY_ANOTHER = (10071, 10164)

#: Reads the record of a key.
_READ = FastrpcLayout("fastrpc").read


class NatsKeys:
    """A backend over the keys of a bucket."""

    def __init__(self, session: BucketSession) -> None:
        self._session = session

    def open_lookup(self, service: str) -> SingleLookup:
        return SingleLookup(self.open_shared(), service)

    def open_shared(self) -> "BucketLookup":
        return BucketLookup(self._session)

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        return BucketLease(self._session, _key(service, endpoint.address), encode_record(endpoint))

    def list_services(self) -> Iterable[str]:
        async def read(bucket: KeyValue) -> list[str]:
            watcher, entries = await _watched(self._session, bucket, ">", ignore_deletes=True, meta_only=True)
            await watcher.stop()
            return [entry.key for entry in entries]

        return {_decoded(key.partition(".")[0]) for key in self._session.run(read)}

    def remove(self, service: str, address: Address) -> bool:
        key = _key(service, address)

        async def delete(bucket: KeyValue) -> bool:
            try:
                # The value of an expired record is empty.
                is_there = bool((await bucket.get(key)).value)
            except KeyNotFoundError:
                return False
            await bucket.delete(key)
            return is_there

        return self._session.run(delete)

    def close(self) -> None:
        self._session.close()


class BucketLookup:
    """Follows the keys of one service, or all keys of the bucket. Reads them again after data loss and silence."""

    def __init__(self, session: BucketSession, clock: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._clock = clock
        self._woken = WakeFlag()
        self._services: dict[str, DecodedRecords] = {}
        # The services whose lists `fetch` must return, even if they have not changed.
        self._due: set[str] = set()
        self._filter = ""
        self._is_closed = False
        # The services with changes. The session's loop writes here.
        self._changed: queue.SimpleQueue[str] = queue.SimpleQueue()
        # The loop of the session writes these.
        self._keys = _Keys(self._clock)
        self._following: asyncio.Task[None] | None = None
        self._generation = 0
        # The value of `session.losses` at the last answer.
        self._losses = session.losses
        session.listeners.add(self._woken.set)

    def follow(self, services: frozenset[str], again: frozenset[str]) -> None:
        self._due |= again | (services - self._services.keys())
        self._services = {name: self._services.get(name) or DecodedRecords(_READ) for name in services}
        wanted = f"{_encoded(next(iter(services)))}.*" if len(services) == 1 else ">"
        if again or wanted != self._filter:
            self._filter, self._generation = wanted, 0

    def fetch(self, wait_seconds: float) -> Mapping[str, Listing]:
        was_lost = bool(self._generation) and self._generation != self._session.generation
        if self._generation and not (self._due or was_lost):
            self._woken.wait(min(wait_seconds, self._keys.oldest + self._session.ttl_seconds - self._clock()))
            was_lost = self._generation != self._session.generation
        self._woken.clear()
        # A bucket without limit markers does not report that a key has expired.
        is_old = self._clock() >= self._keys.oldest + self._session.ttl_seconds
        if not self._generation or was_lost or is_old:
            try:
                self._session.run(self._read)
            except StoreError:
                self._generation = 0
                raise
            self._due |= self._services.keys()
        is_restart, self._losses = self._losses != self._session.losses, self._session.losses
        changed, self._due = self._due, set()
        while not self._changed.empty():
            changed.add(self._changed.get())
        return {
            service: Listing(
                decoded.entries(self._keys.records(service)), is_restart=is_restart, was_away=was_lost
            )
            for service, decoded in self._services.items()
            if service in changed
        }

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        self._is_closed = True
        self._session.listeners.discard(self._woken.set)
        self._woken.set()
        if self._following is not None:
            self._following.get_loop().call_soon_threadsafe(self._following.cancel)

    async def _read(self, bucket: KeyValue) -> None:
        """Read all keys, and follow their changes from then on."""
        if self._following is not None:
            self._following.cancel()
        watcher, entries = await _watched(self._session, bucket, self._filter)
        keys = _Keys(self._clock)
        for entry in entries:
            keys.apply(entry)
        self._keys = keys
        self._generation = self._session.generation
        if self._is_closed:
            await watcher.stop()
            return
        self._following = asyncio.create_task(self._follow(watcher, keys))

    async def _follow(self, watcher: KeyValue.KeyWatcher, keys: "_Keys") -> None:
        try:
            async for entry in watcher:
                if entry is not None and (changed := keys.apply(entry)) is not None:
                    self._changed.put(changed)
                    self._woken.set()
        finally:
            # If the connection is closed, the subscription has ended.
            with contextlib.suppress(ConnectionClosedError):
                await watcher.stop()


async def _watched(
    session: BucketSession, bucket: KeyValue, wanted: str, **options: Any
) -> tuple[KeyValue.KeyWatcher, list[KeyValue.Entry]]:
    """Follow keys; return the subscription, and an entry for each key that has a value or recently had one.

    A consumer starts with the latest message of each key. It skips a message that is replaced in the meantime, and
    delivers the new message after the end mark. So keys that were skipped are read one by one. Without the inactivity
    threshold the server would keep the consumer of an ended watcher for five minutes, and a stream has at most a
    thousand consumers.
    """
    watcher = await bucket.watch(wanted, inactive_threshold=_IDLE_SECONDS, **options)
    try:
        entries: dict[str, KeyValue.Entry] = {}
        async for entry in watcher:
            # None marks the end of the existing keys.
            if entry is None:
                break
            entries[entry.key] = entry
        others = [key for key in await session.keys(wanted) if key not in entries]
        for first in range(0, len(others), _READ_AT_ONCE):
            some = others[first : first + _READ_AT_ONCE]
            read = await asyncio.gather(*(_entry(bucket, key) for key in some))
            entries |= {entry.key: entry for entry in read if entry is not None}
    except BaseException:
        await watcher.stop()
        raise
    return watcher, list(entries.values())


async def _entry(bucket: KeyValue, key: str) -> KeyValue.Entry | None:
    """Return the entry of a key; None if it has no entry, or an expired entry with an empty value."""
    try:
        entry = await bucket.get(key, validate_keys=False)
    except KeyNotFoundError:
        return None
    return entry if entry.value else None


class _Keys:
    """The keys of services. One thread changes them, another thread reads them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._records: dict[str, dict[str, bytes]] = {}
        # The time of the last message about each key, the oldest first.
        self._heard: dict[str, float] = {}
        #: The earliest of the times in `_heard`; without keys, the time of the last read.
        self.oldest = self._read_at = clock()

    def records(self, service: str) -> list[tuple[str, bytes]]:
        return list(self._records.get(service, {}).items())

    def apply(self, entry: KeyValue.Entry) -> str | None:
        """Apply an entry; return the service that it changed. A renewal changes no service."""
        changed = self._applied(entry)
        self.oldest = next(iter(self._heard.values()), self._read_at)
        return changed

    def _applied(self, entry: KeyValue.Entry) -> str | None:
        prefix, _, rest = entry.key.partition(".")
        service, name = _decoded(prefix), _decoded(rest)
        records = self._records.get(service, {})
        self._heard.pop(entry.key, None)
        if entry.operation is not None:
            was_there = records.pop(name, None) is not None
            if was_there and not records:
                del self._records[service]
            return service if was_there else None
        if name not in records and (len(records) > MOST_ENDPOINTS or len(self._heard) >= MOST_KEYS):
            return None
        self._heard[entry.key] = self._clock()
        before, records[name] = records.get(name), entry.value or b""
        self._records[service] = records
        return None if before == records[name] else service


class BucketLease:
    """The record of one endpoint.

    If an address is registered twice, the later registration writes the record. After its removal the other
    registration writes the record again.
    """

    def __init__(self, session: BucketSession, key: str, record: bytes) -> None:
        self.renew_seconds = session.ttl_seconds / 3
        self._session = session
        self._key = key
        self.record = record
        # The revision of this registration's last write; 0 if unknown.
        self._revision = 0

    def acquire(self) -> None:
        async def write(bucket: KeyValue) -> int:
            status = await bucket.status()
            if status.ttl:
                # Another program may have created the bucket with another TTL.
                self.renew_seconds = min(self._session.ttl_seconds, status.ttl) / 3
            return int(await bucket.put(self._key, self.record))

        self._revision = self._session.run(write)

    def renew(self) -> bool:
        async def write(bucket: KeyValue) -> bool:
            try:
                if self._revision:
                    self._revision = await bucket.update(self._key, self.record, last=self._revision)
                    return True
            except KeyWrongLastSequenceError:
                self._revision = 0
            try:
                # The result is True also if another server has taken over the record. An expired record is empty.
                return bool((await bucket.get(self._key)).value)
            except KeyNotFoundError:
                return False

        return self._session.run(write)

    def rewrite(self) -> bool:
        return self.renew()

    def release(self) -> None:
        async def delete(bucket: KeyValue) -> None:
            try:
                await bucket.delete(self._key, last=self._revision)
            except APIError as error:
                if error.err_code not in _WRITTEN_BY_ANOTHER:
                    raise

        if self._revision:
            self._session.run(delete)


def _key(service: str, address: Address) -> str:
    return f"{_encoded(service)}.{_encoded(str(address))}"


def _encoded(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(part: str) -> str:
    """Decode one part of a key. Return a part that another program wrote unchanged."""
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
    except (ValueError, binascii.Error):
        return part
