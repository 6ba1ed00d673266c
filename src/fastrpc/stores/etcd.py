"""A store in etcd 3.4 or later, by the JSON gateway of its v3 API.

Leases are etcd's leases. Their names are their ids in hexadecimal, as in the keys of etcd's own recipes.
"""

import contextlib
import re
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from fastrpc.errors import CompactedError, ConfigError, StoreError
from fastrpc.registries.base.secrets import check_carried, take_login
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.etcd.gateway import (
    EtcdAccess,
    Gateway,
    Header,
    KeyChange,
    KeyValue,
    KeyWatch,
    Range,
    prefix_range,
)
from fastrpc.status import Status
from fastrpc.stores.base import (
    Deletion,
    Item,
    ItemChange,
    ItemPage,
    ItemWatch,
    StoreLimits,
    Transacted,
    Unchanged,
    Write,
    check_key,
    check_lease_seconds,
    check_outcome,
    check_page,
    check_transaction,
    check_watched,
)
from fastrpc.stores.remote import ClientThreads, KeyPrefix, ended_lease

__all__ = ["EtcdStore", "open_etcd_store"]

T = TypeVar("T")

#: Keys of a page. Even with the longest values, a response is not too large.
PAGE_KEYS: Final = 40

#: Seconds without a change after which a read checks that the member has a quorum and the watch missed no change.
PROOF_SECONDS = 15.0

#: Seconds that a change may take to appear in the watch.
UNDER_WAY_SECONDS: Final = 0.5

#: _FIRST_VERSION: the first version with this API. _DIVERGING_VERSIONS: the versions whose members may diverge when
#: they are killed.
_FIRST_VERSION: Final = (3, 4, 0)
_DIVERGING_VERSIONS: Final = ((3, 5, 0), (3, 5, 1), (3, 5, 2))

_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_LEASE: Final = re.compile(r"[0-9a-f]{1,16}")


class _Member(msgspec.Struct):
    version: str


class _Deleted(msgspec.Struct):
    deleted: int = 0


class _Done(msgspec.Struct):
    response_range: Range | None = None
    response_delete_range: _Deleted | None = None


class _Outcome(msgspec.Struct):
    header: Header
    succeeded: bool = False
    responses: list[_Done] = []


class _Granted(msgspec.Struct):
    ID: int = 0
    TTL: int = 0


class _Kept(msgspec.Struct):
    #: The result, which only the answer to a renewal has.
    result: _Granted | None = None


def open_etcd_store(url: RegistryURL) -> "EtcdStore":
    """Return the store `etcd://host:port,host:port?base=…&user=…&password_file=…`. The default port is 2379.

    Raises:
        ConfigError: an option is wrong.
    """
    places, tls, user = url.places(2379), url.take_tls(), take_login(url)
    check_carried(url, places, kind="password" if user else "", is_encrypted=tls is not None)
    base = KeyPrefix(url)
    url.refuse_unread()
    return EtcdStore(EtcdAccess(places, tls=tls, user=user), base)


class EtcdStore:
    """The keys of a cluster, below a base."""

    limits: Final = StoreLimits(least_lease=2.0, most_lease=1e9, whole_seconds=True)

    def __init__(self, access: EtcdAccess, base: KeyPrefix) -> None:
        self._access = access
        self._base = base
        self._threads = ClientThreads(lambda: Gateway(access))
        self._is_known = False

    async def __aenter__(self) -> Self:
        self._threads.open()
        try:
            # If the cluster is unreachable now, the first request checks the version.
            with contextlib.suppress(StoreError):
                await self._check_version()
        except BaseException:
            self._threads.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._threads.close()

    async def get(self, key: str, *, stale: bool = False) -> Item[bytes] | None:
        check_key(key)
        found = await self._ask("kv/range", self._key(key) | {"serializable": stale}, Range)
        return self._item(found.kvs[0]) if found.kvs else None

    async def list(
        self, prefix: str = "", *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemPage:
        check_page(prefix, limit)
        await self._check_version()
        request = prefix_range(self._base.outer(prefix)) | {"limit": PAGE_KEYS, "serializable": stale}
        if after > prefix:
            request["key"] = self._base.outer(after).encode() + b"\0"
        return await self._threads.ask(lambda gateway: self._listed(gateway, request, limit))

    async def put(
        self, key: str, value: bytes, *, expect: int | None = None, lease: str | None = None
    ) -> int:
        outcome, _ = await self._expecting(key, expect, Write(key, value, lease))
        return outcome.revision

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        _, deleted = await self._expecting(key, expect, Deletion(key))
        return deleted > 0

    async def transact(self, when: Sequence[Unchanged], do: Sequence[Write | Deletion]) -> Transacted:
        outcome, _ = await self._transact(when, do)
        return outcome

    def watch(self, watched: str, *, after: int | None = None) -> ItemWatch:
        check_watched(watched)
        is_prefix = watched.endswith("/") or not watched
        keys = prefix_range(self._base.outer(watched)) if is_prefix else self._key(watched)
        beginning = self._threads.begin(self._revision(keys)) if after is None else None

        async def changes() -> AsyncGenerator[ItemChange | int, None]:
            reached = after if beginning is None else await beginning
            assert reached is not None
            await self._check_version()
            with self._threads.lent(again=False) as thread:
                watch = _Watch(keys, reached)
                while True:
                    for change in await thread.run(watch.receive):
                        key, item = self._base.inner(_text(change.kv.key)), None
                        if change.type != "DELETE":
                            item = self._item(change.kv)
                        if key is not None:
                            yield ItemChange(key, change.kv.mod_revision, item)
                    yield watch.complete

        return ItemWatch(changes())

    async def lease(self, seconds: float) -> str:
        check_lease_seconds(seconds, self.limits)
        # If the answer is lost, the lease expires.
        return f"{(await self._ask('lease/grant', {'TTL': int(seconds)}, _Granted)).ID:x}"

    async def renew(self, lease: str) -> bool:
        return await self._keep("lease/keepalive", lease)

    async def revoke(self, lease: str) -> bool:
        return await self._keep("lease/revoke", lease)

    async def _keep(self, path: str, lease: str) -> bool:
        """Renew or end a lease; return whether it existed."""
        try:
            kept = await self._ask(path, {"ID": _id(lease)}, _Kept)
        except StoreError as error:
            if error.status is Status.NOT_FOUND:
                return False
            raise
        return kept.result is None or kept.result.TTL > 0

    async def _revision(self, keys: dict[str, Any]) -> int:
        return (await self._ask("kv/range", keys | {"count_only": True}, Range)).header.revision

    def _listed(self, gateway: Gateway, request: dict[str, Any], limit: int) -> ItemPage:
        """Read pages at one revision until there are enough items."""
        items: list[Item[bytes]] = []
        while True:
            page = gateway.ask("kv/range", request, Range)
            request.setdefault("revision", page.header.revision)
            items += [item for one in page.kvs if (item := self._item(one)) is not None]
            if len(items) > limit or not page.more or not page.kvs:
                return ItemPage(tuple(items[:limit]), request["revision"], len(items) > limit)
            request["key"] = page.kvs[-1].key + b"\0"

    async def _expecting(
        self, key: str, expect: int | None, step: Write | Deletion
    ) -> tuple[Transacted, int]:
        outcome, deleted = await self._transact([] if expect is None else [Unchanged(key, expect)], [step])
        return check_outcome(outcome, key, expect), deleted

    async def _transact(
        self, when: Sequence[Unchanged], do: Sequence[Write | Deletion]
    ) -> tuple[Transacted, int]:
        """Execute a transaction; return the outcome and the number of deleted keys."""
        check_transaction(when, do)
        request = {
            "compare": [
                self._key(step.key) | {"target": "MOD", "mod_revision": str(step.revision)} for step in when
            ],
            "success": [self._operation(step) for step in do],
            "failure": [{"request_range": self._key(step.key)} for step in when],
        }
        try:
            found = await self._ask("kv/txn", request, _Outcome, writes=True)
        except StoreError as error:
            leases = [step.lease for step in do if isinstance(step, Write) and step.lease is not None]
            if error.status is Status.NOT_FOUND and leases:
                raise ended_lease(*leases) from error
            raise
        revision, done = found.header.revision, found.responses
        if found.succeeded:
            deleted = sum(one.response_delete_range.deleted for one in done if one.response_delete_range)
            return Transacted(True, revision), deleted
        present = [one.response_range.kvs if one.response_range else [] for one in done]
        return Transacted(False, revision, tuple(self._item(kvs[0]) if kvs else None for kvs in present)), 0

    def _operation(self, step: Write | Deletion) -> dict[str, Any]:
        key = self._key(step.key)
        if isinstance(step, Deletion):
            return {"request_delete_range": key}
        lease = {} if step.lease is None else {"lease": _id(step.lease)}
        return {"request_put": key | {"value": step.value} | lease}

    def _key(self, key: str) -> dict[str, Any]:
        return {"key": self._base.outer(key).encode()}

    def _item(self, found: KeyValue) -> Item[bytes] | None:
        """Return a key as an item, or None for a key of another program that is invalid here."""
        key = self._base.inner(_text(found.key))
        lease = f"{found.lease:x}" if found.lease else None
        return (
            None if key is None else Item(key, found.value, found.mod_revision, lease, found.create_revision)
        )

    async def _ask(self, path: str, request: dict[str, Any], kind: type[T], *, writes: bool = False) -> T:
        await self._check_version()
        return await self._threads.ask(
            lambda gateway: gateway.ask(path, request, kind, once=writes), writes=writes
        )

    async def _check_version(self) -> None:
        """Check the version of each member once.

        Raises:
            ConfigError: a member would lose acknowledged writes.
        """
        if not self._is_known:
            for text in await self._threads.ask(self._versions):
                found = _VERSION.match(text)
                version = tuple(map(int, found.groups())) if found else (0, 0, 0)
                if version < _FIRST_VERSION or version in _DIVERGING_VERSIONS:
                    raise ConfigError(
                        f"a member of etcd has version {text}, whose members may differ after a kill"
                        if version in _DIVERGING_VERSIONS
                        else f"a member of etcd has version {text}, the first that works is 3.4",
                        hint="use 3.4, or 3.5.3 and later",
                    )
            self._is_known = True

    def _versions(self, gateway: Gateway) -> set[str]:
        found = set()
        for _ in self._access.places:
            found.add(gateway.ask("maintenance/status", {}, _Member).version)
            gateway.leave()
        return found


class _Watch:
    """The changes of a range of keys after a revision. The methods block."""

    def __init__(self, keys: dict[str, Any], reached: int) -> None:
        self._keys = keys
        self._reached = reached
        #: The revision up to which all changes were returned, as etcd reports from time to time; 0 before the first
        #: report.
        self.complete = 0
        # The number of keys according to the watch. If the store has another number, the watch missed changes.
        self._count = 0
        self._watch: KeyWatch | None = None

    def receive(self, gateway: Gateway) -> list[KeyChange]:
        """Return the next changes; an empty list after some seconds.

        Raises:
            CompactedError: the changes are compacted, or the revision is in the future.
            StoreError: the watch is refused, or has ended.
        """
        if self._watch is None:
            self._watch = self._opened(gateway)
        try:
            changes = self._watch.receive(PROOF_SECONDS)
            if changes is None:
                changes = self._proven(gateway, self._watch)
            self.complete = self._watch.complete
            self._reached = max(self._reached, self.complete)
        except CompactedError:
            raise
        except StoreError as error:
            # Drop the status: only a refusal at the start is final. A later refusal may mean that a login has expired.
            raise StoreError(error.message) from error
        for change in changes:
            self._reached = change.kv.mod_revision
            if change.type == "DELETE":
                self._count -= 1
            elif change.kv.version == 1:
                self._count += 1
        return changes

    def _opened(self, gateway: Gateway) -> KeyWatch:
        """Start a watch at a member that has a quorum and has reached the revision."""
        try:
            found = gateway.ask("kv/range", self._counted | {"revision": self._reached}, Range)
            self._count = found.count if self._reached else 0
        except StoreError as error:
            if error.status is not Status.OUT_OF_RANGE:
                raise
            latest = gateway.ask("kv/range", self._counted, Range).header.revision
            if latest < self._reached:
                raise CompactedError(
                    f"etcd has revisions up to {latest}, not {self._reached}",
                    oldest=latest,
                    hint="list the items again, and watch after the revision of that list",
                ) from error
            # The history is compacted: start the watch, which reports up to which revision.
        return gateway.watch(self._keys, self._reached + 1)

    def _proven(self, gateway: Gateway, watch: KeyWatch) -> list[KeyChange]:
        """Check by a read with a quorum whether there are new changes; return the changes that the watch then yields.

        Raises:
            StoreError: there is a change, and the watch does not yield it in time.
        """
        request = self._keys | {"limit": 1, "keys_only": True, "min_mod_revision": self._reached + 1}
        found = gateway.ask("kv/range", request, Range)
        if not found.kvs and found.count == self._count:
            return []
        changes = watch.receive(UNDER_WAY_SECONDS)
        if changes is None:
            raise StoreError("the watch does not show a change")
        return changes

    @property
    def _counted(self) -> dict[str, Any]:
        return self._keys | {"count_only": True}


def _id(lease: str) -> str:
    if not _LEASE.fullmatch(lease):
        raise ended_lease(lease)
    return str(int(lease, 16))


def _text(key: bytes) -> str:
    """Return a key as text. Bytes that are not UTF-8 become characters that no valid key has."""
    return key.decode("utf-8", "surrogateescape")
