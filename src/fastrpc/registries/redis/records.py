"""Endpoints in Redis: hashes of records and owners, a sorted set of expiry times, and one script that writes them.

::

    <base>:<service>:records   address → record
    <base>:<service>:owners    address → the registration that wrote the record
    <base>:<service>:leases    address → end of its lease in milliseconds of the server's clock
    <base>:services            service → end of its last lease
    <base>:<service>           the channel of its changes
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import StoreError
from fastrpc.registries.base.backend import Entry, Lease, Listing
from fastrpc.registries.base.decoded import DecodedRecords
from fastrpc.registries.base.layouts import FastrpcLayout
from fastrpc.registries.base.record import encode_record
from fastrpc.registries.base.rpcx_record import base_path
from fastrpc.registries.base.rules import MOST_ENDPOINTS
from fastrpc.registries.base.shared import PART_LISTS, Rereads, SingleLookup
from fastrpc.registries.redis.server import RedisAccess, RedisClient

__all__ = ["RedisLease", "RedisLookup", "RedisRecords"]

#: Records of one answer. With the longest records it has about 8 MiB.
PAGE_RECORDS = 128

#: Seconds between two checks during a wait whether services were added.
WAKE_SECONDS = 0.1

#: The most seconds by which the difference between the server's clock and ours may change between two lists. A larger
#: change means that a clock was set, or that another server answers.
JUMP_SECONDS = 1.0

#: Deletes expired records, then executes ARGV[1]: "write", "renew", "remove" or "delete". Returns 1 if the record
#: existed before. "renew" and "remove" do not change a record that another registration has taken over.
SCRIPT = """
local records, owners, leases, services = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local verb, service, address, owner, ttl, record, channel = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local changed = false
local function drop(name)
    redis.call('HDEL', records, name)
    redis.call('HDEL', owners, name)
    redis.call('ZREM', leases, name)
    changed = true
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 1000)) do
    drop(name)
end
local present = redis.call('HGET', records, address)
local writer = redis.call('HGET', owners, address)
local is_held = present and writer and redis.call('ZSCORE', leases, address)
if verb == 'write' then
    redis.call('HSET', records, address, record)
    redis.call('HSET', owners, address, owner)
    redis.call('ZADD', leases, now + ttl, address)
    changed = changed or present ~= record
elseif verb == 'renew' and is_held and writer == owner then
    redis.call('ZADD', leases, now + ttl, address)
    if present ~= record then
        redis.call('HSET', records, address, record)
        changed = true
    end
elseif verb == 'delete' and is_held or verb == 'remove' and writer == owner then
    drop(address)
end
local last = redis.call('ZREVRANGE', leases, 0, 0, 'WITHSCORES')[2]
if last then
    -- Another program may have written any number.
    last = math.floor(math.min(tonumber(last), now + 86400000))
    redis.call('ZADD', services, last, service)
    for index = 1, 3 do
        redis.call('PEXPIREAT', KEYS[index], last)
    end
else
    redis.call('ZREM', services, service)
end
redis.call('ZREMRANGEBYSCORE', services, '-inf', now)
if changed then
    redis.call('PUBLISH', channel, address)
end
return is_held and 1 or 0
"""


class RedisRecords:
    """A backend over the keys of a server.

    Args:
        base: the first part of all keys.
        ttl_seconds: seconds without renewal after which a record expires.
    """

    def __init__(self, access: RedisAccess, base: str, ttl_seconds: int) -> None:
        self._access, self._ttl_seconds = access, ttl_seconds
        self._base, self._layout = base_path(base), FastrpcLayout(base)
        # All registrations share this connection, because one thread uses all registrations.
        self._client: RedisClient | None = None

    def open_lookup(self, service: str) -> SingleLookup:
        return SingleLookup(self.open_shared(), service)

    def open_shared(self) -> "RedisLookup":
        return RedisLookup(self._access, self._base, self._ttl_seconds / 2, self._layout.read)

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        if self._client is None:
            self._client = self._access.connect()
        return self._lease(self._client, service, endpoint.address, encode_record(endpoint))

    def _lease(self, client: RedisClient, service: str, address: Address, record: bytes) -> "RedisLease":
        return RedisLease(client, self._base, service, str(address), record, self._ttl_seconds)

    def list_services(self) -> Iterable[str]:
        with contextlib.closing(self._access.connect()) as client:
            now = f"({_server_clock(client)}"
            found = client.ask(list[bytes], "ZRANGEBYSCORE", f"{self._base}:services", now, "+inf")
        return [name.decode("utf-8", "replace") for name in found]

    def remove(self, service: str, address: Address) -> bool:
        with contextlib.closing(self._access.connect()) as client:
            return self._lease(client, service, address, b"").delete()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


class RedisLookup:
    """Reads the records of services after messages on their channels, and at intervals in case a message was lost.

    Args:
        clock: returns monotonic time in seconds.
    """

    def __init__(
        self,
        access: RedisAccess,
        base: str,
        longest_seconds: float,
        read: Callable[[str, bytes], Entry | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base, self._clock = base, clock
        self._client, self._channel = access.connect(), access.connect()
        self._read, self._rereads = read, Rereads(longest_seconds, clock)
        self._services: dict[str, DecodedRecords] = {}
        # Addresses and records in the last returned list of each service.
        self._told: dict[str, list[tuple[str, bytes]]] = {}
        # The services whose channels are subscribed.
        self._subscribed: set[str] = set()
        # The difference between the server's clock and ours at the last list.
        self._ahead: float | None = None
        # The server's run ID at the last list; "" if unknown.
        self._run = ""
        # True if the next list has to query the run ID.
        self._asks_run = True
        self._is_woken = False

    def follow(self, services: frozenset[str], again: frozenset[str]) -> None:
        self._services = {name: self._services.get(name) or DecodedRecords(self._read) for name in services}
        self._rereads.follow(services)
        self._forget((self._told.keys() - services) | again)

    def fetch(self, wait_seconds: float) -> Mapping[str, Listing | StoreError]:
        try:
            self._subscribe()
            self._wait(wait_seconds)
            return self._changed()
        except BaseException:
            # Lists that were read before the error are not returned, so read them again.
            self._forget(self._services)
            self._subscribed.clear()
            # A network failure breaks both connections.
            self._channel.drop()
            self._client.drop()
            self._asks_run = True
            raise
        finally:
            self._is_woken = False

    def _forget(self, services: Iterable[str]) -> None:
        """Make lists due, and return them even if they have not changed."""
        for name in services:
            self._told.pop(name, None)
            self._rereads.hurry(name)

    def wake(self) -> None:
        self._is_woken = True

    def close(self) -> None:
        self._client.close()
        self._channel.close()

    def _subscribe(self) -> None:
        """Subscribe to the channels of all services, and unsubscribe all other channels."""
        before, self._subscribed = self._subscribed, set(self._services)
        changes = {"SUBSCRIBE": self._subscribed - before, "UNSUBSCRIBE": before - self._subscribed}
        for verb, names in changes.items():
            if names:
                self._note(self._channel.subscribe(verb, [f"{self._base}:{name}" for name in names]))

    def _note(self, channels: set[bytes]) -> None:
        """Make the lists due whose channels had messages."""
        for name in channels:
            self._rereads.hurry(name.decode("utf-8", "replace")[len(self._base) + 1 :])

    def _wait(self, wait_seconds: float) -> None:
        """Wait for messages until a list has to be read."""
        until = min(self._clock() + wait_seconds, self._rereads.next())
        while True:
            # Wait in short steps: interrupting a longer wait would break the connection.
            channels = self._channel.receive(max(0.0, min(WAKE_SECONDS, until - self._clock())))
            self._note(channels)
            if channels or self._is_woken or self._clock() >= until:
                return

    def _changed(self) -> dict[str, Listing | StoreError]:
        """Read the lists that may have changed; return the changed lists, and errors of services."""
        due = self._rereads.take()
        if not due:
            return {}
        now = _server_clock(self._client)
        is_restart = self._is_another(now)
        if is_restart:
            self._forget(self._services)
            due = self._rereads.take()
        changed: dict[str, Listing | StoreError] = {}
        for start in range(0, len(due), PART_LISTS):
            for service, found in self._records(due[start : start + PART_LISTS], now).items():
                if isinstance(found, StoreError):
                    self._told.pop(service, None)
                    changed[service] = found
                elif found != self._told.get(service):
                    self._told[service] = found
                    changed[service] = Listing(self._services[service].entries(found), is_restart=is_restart)
        return changed

    def _is_another(self, now: int) -> bool:
        """Return whether another server answers, the server has restarted, or a clock was set."""
        before, self._ahead = self._ahead, now / 1000 - self._clock()
        has_jumped = before is not None and abs(self._ahead - before) > JUMP_SECONDS
        if not self._asks_run:
            return has_jumped
        run, self._run = self._run, self._client.run_id()
        self._asks_run = False
        return has_jumped or (bool(run and self._run) and run != self._run)

    def _records(self, services: Sequence[str], now: int) -> dict[str, list[tuple[str, bytes]] | StoreError]:
        """Return the addresses and records that have not expired, or the error of a service that cannot be read."""
        found: dict[str, list[tuple[str, bytes]] | StoreError] = {}
        pairs: list[tuple[str, bytes]] = []
        asked: list[Sequence[str | bytes | float]]
        window = f"({now}", "+inf", "LIMIT", 0, MOST_ENDPOINTS + 1
        asked = [("ZRANGEBYSCORE", f"{self._base}:{service}:leases", *window) for service in services]
        for service, leases in zip(services, self._client.ask_all(list[bytes], asked), strict=True):
            found[service] = leases if isinstance(leases, StoreError) else []
            pairs += [] if isinstance(leases, StoreError) else [(service, address) for address in leases]
        for start in range(0, len(pairs), PAGE_RECORDS):
            page: dict[str, list[bytes]] = {}
            for service, address in pairs[start : start + PAGE_RECORDS]:
                page.setdefault(service, []).append(address)
            asked = [("HMGET", f"{self._base}:{service}:records", *names) for service, names in page.items()]
            for service, records in zip(page, self._client.ask_all(list[bytes | None], asked), strict=True):
                known = found[service]
                if isinstance(records, StoreError):
                    found[service] = records
                elif not isinstance(known, StoreError):
                    both = zip(page[service], records, strict=False)
                    known += [(name.decode("utf-8", "replace"), one) for name, one in both if one is not None]
        return found


class RedisLease:
    """The record of one endpoint.

    If an address is registered twice, the later registration writes the record. After its removal the other
    registration writes the record again.
    """

    def __init__(
        self, client: RedisClient, base: str, service: str, address: str, record: bytes, ttl_seconds: int
    ) -> None:
        self._client, self.renew_seconds = client, ttl_seconds / 3
        name = f"{base}:{service}"
        self._keys = f"{name}:records", f"{name}:owners", f"{name}:leases", f"{base}:services"
        self.record = record
        self._arguments, self._channel = (service, address, secrets.token_hex(8), ttl_seconds * 1000), name

    def acquire(self) -> None:
        self._run("write")

    def renew(self) -> bool:
        return self._run("renew")

    def rewrite(self) -> bool:
        return self.renew()

    def release(self) -> None:
        self._run("remove")

    def delete(self) -> bool:
        """Delete the record, whichever program wrote it; return whether there was one."""
        return self._run("delete")

    def _run(self, verb: str) -> bool:
        arguments = verb, *self._arguments, self.record, self._channel
        return bool(self._client.ask(int, "EVAL", SCRIPT, len(self._keys), *self._keys, *arguments))


def _server_clock(client: RedisClient) -> int:
    """Return the time of the server in milliseconds."""
    seconds, microseconds = client.ask(tuple[bytes, bytes], "TIME")
    return int(seconds) * 1000 + int(microseconds) // 1000
