"""The requests of a store in Deimos.

A write without a condition first reads its key, since only a compare-and-swap keeps the created index of an item. A
lease is the time to live of one item. A renewal writes the item again.
"""

import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from fastrpc.errors import CompactedError, ConfigError, StoreConflictError, StoreError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.deimos.node import (
    DeimosAccess,
    DeimosClient,
    DeimosNode,
    DeimosRefusedError,
    is_nothing,
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
    check_page,
    check_transaction,
    check_watched,
)
from fastrpc.stores.deimos.leases import ItemLease, ItemLeases
from fastrpc.stores.deimos.watching import KeyWatcher
from fastrpc.stores.remote import ClientThreads, KeyPrefix, ended_lease

__all__ = ["DeimosStore", "open_deimos_store"]

#: Most attempts at a write whose key is changed by others at the same time.
_TRIES: Final = 100

#: Items by path, and the index of the store.
_Items = tuple[dict[str, Item[bytes]], int]


def open_deimos_store(url: RegistryURL) -> "DeimosStore":
    """Return the store `deimos://host:port,host:port?base=…&token_file=…`. The default port is 4001.

    Raises:
        ConfigError: an option is wrong.
    """
    access, base = DeimosAccess(url), KeyPrefix(url)
    url.refuse_unread()
    return DeimosStore(access, base)


class DeimosStore:
    """The keys of a Deimos, below a base.

    Args:
        clock: returns an instant in seconds that never decreases, for leases without an item.
    """

    limits: Final = StoreLimits(
        least_lease=2.0,
        most_lease=1e9,
        whole_seconds=True,
        every_change=False,
        most_keys=1,
        lease_items=1,
        is_text=True,
        is_tree=True,
    )

    def __init__(
        self, access: DeimosAccess, base: KeyPrefix, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        _check_visible(base.prefix)
        self._base = base
        self._threads = ClientThreads(lambda: DeimosClient(access))
        self._leases = ItemLeases(clock)

    async def __aenter__(self) -> Self:
        self._threads.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._threads.close()

    async def get(self, key: str, *, stale: bool = False) -> Item[bytes] | None:
        """Return the item of a key; `stale` has no effect here."""
        found, _ = await self._read(key)
        return found

    async def list(
        self, prefix: str = "", *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemPage:
        """Return the first items of a prefix. Deimos returns the whole prefix. `stale` has no effect here."""
        check_page(prefix, limit)
        _check_visible(prefix)
        items, index = await self._threads.ask(lambda client: self._below(client, prefix))
        found = sorted((item for item in items.values() if item.key > after), key=lambda item: item.key)
        return ItemPage(tuple(found[:limit]), index, len(found) > limit)

    async def put(
        self, key: str, value: bytes, *, expect: int | None = None, lease: str | None = None
    ) -> int:
        self._check(key)
        check_transaction((), [Write(key, value)])
        text = self._text(key, value)
        if lease is not None:
            self._lease_for(lease, key)
        for tries in range(_TRIES):
            revision = expect
            if revision is None:
                before, _ = await self._read(key)
                if before is None and tries:
                    await self._check_free(key)
                revision = 0 if before is None else before.revision
            try:
                node = await self._put(key, text, revision, lease)
            except StoreError as error:
                if not _is_refused(error):
                    raise
                if expect is None:
                    continue
                raise await self._conflict(key, revision) from error
            return node.modified_index
        raise StoreError(f"others change {key!r} all the time", processed="no")

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        self._check(key)
        if expect == 0:
            if await self.get(key) is not None:
                raise await self._conflict(key, 0)
            return False
        try:
            await self._deleted(key, expect)
        except StoreError as error:
            # These refusals mean that the key is a directory, or below another key. Both are not possible in Deimos.
            if not _is_refused(error) and error.status is not Status.FAILED_PRECONDITION:
                raise
            if expect is not None:
                raise await self._conflict(key, expect) from error
            return False
        self._leases.unbind(key)
        return True

    async def transact(self, when: Sequence[Unchanged], do: Sequence[Write | Deletion]) -> Transacted:
        """Execute one operation if its key has the expected revision."""
        check_transaction(when, do)
        keys = {step.key for step in (*when, *do)}
        if len(keys) > 1:
            raise ConfigError(
                f"the transaction has {len(keys)} keys, the limit is 1: Deimos changes one key at once"
            )
        expected = {step.revision for step in when}
        try:
            if len(expected) > 1 or not do:
                return await self._compared(when)
            expect = next(iter(expected), None)
            for step in do:
                if isinstance(step, Write):
                    revision = await self.put(step.key, step.value, expect=expect, lease=step.lease)
                    return Transacted(True, revision)
                await self.delete(step.key, expect=expect)
        except StoreConflictError as conflict:
            _, index = await self._read(when[0].key)
            return Transacted(False, index, (conflict.item,) * len(when))
        _, index = await self._read(next(iter(keys)))
        return Transacted(True, index)

    def watch(self, watched: str, *, after: int | None = None) -> ItemWatch:
        check_watched(watched)
        _check_visible(watched)
        beginning = self._threads.begin(self._begun(watched, after))

        async def changes() -> AsyncGenerator[ItemChange | int, None]:
            watcher = await beginning
            with self._threads.lent(again=False) as thread:
                while True:
                    for change in await thread.run(watcher.receive):
                        yield change
                    yield watcher.reached

        return ItemWatch(changes())

    async def lease(self, seconds: float) -> str:
        """Create a lease. Only this object knows it, and Deimos once it has an item."""
        check_lease_seconds(seconds, self.limits)
        return self._leases.add(int(seconds))

    async def renew(self, lease: str) -> bool:
        found = self._leases.find(lease)
        if found is None:
            return False
        if not found.created:
            self._leases.extend(lease)
        # The renewal of a known item need not wait for a write in progress, which may hang: both are compare-and-swaps.
        async with contextlib.nullcontext() if found.created else found.lock:
            for _ in range(_TRIES):
                if self._leases.find(lease) is not found:
                    return False
                if found.revision and await self._is_renewed(lease, found):
                    return True
                if found.key is not None and not await self._is_refound(lease, found, found.key):
                    return False
                if not found.created:
                    # The lease has no item, or the write of its item has not arrived yet.
                    self._leases.extend(lease)
                    return True
        raise StoreError(f"other programs keep changing {found.key!r}", processed="no")

    async def revoke(self, lease: str) -> bool:
        found = self._leases.find(lease)
        if found is None:
            return False
        async with found.lock:
            while self._leases.find(lease) is found:
                if found.key is not None and found.revision:
                    try:
                        await self._deleted(found.key, found.revision)
                        break
                    except StoreError as error:
                        if not _is_refused(error):
                            raise
                if found.key is not None and not await self._is_refound(lease, found, found.key):
                    return False
                if not found.created:
                    break
            else:
                return False
            self._leases.remove(lease)
            return True

    def _lease_for(self, name: str, key: str) -> ItemLease:
        """Return a lease, after checking that it may have the item of a key."""
        found = self._leases.find(name)
        if found is None:
            raise ended_lease(name)
        if found.key not in (None, key):
            raise ConfigError(f"the lease {name!r} has an item, in Deimos it has one at most")
        return found

    async def _put(self, key: str, text: str, revision: int, lease: str | None) -> DeimosNode:
        """Write a key if it has this revision; 0 means that the key does not exist."""
        form: dict[str, Any] = {"value": text}
        form |= {"prevIndex": revision} if revision else {"prevExists": "false"}
        if lease is None:
            node = await self._written(key, form)
            self._leases.unbind(key)
            return node
        async with self._lease_for(lease, key).lock:
            # Check again: while the write waited, the lease may have ended or got another item.
            form["ttl"] = self._lease_for(lease, key).seconds
            with self._leases.writing(lease, key, text, creates=not revision):
                node = await self._written(key, form)
            self._leases.bind(lease, key, text, node.created_index, node.modified_index)
            return node

    async def _is_renewed(self, name: str, lease: ItemLease) -> bool:
        """Write the item of a lease again. Return False if the item has changed since this object wrote it."""
        key = lease.key
        if key is None:
            return False
        form = {"value": lease.value, "ttl": lease.seconds, "prevIndex": lease.revision}
        try:
            node = await self._written(key, form)
        except StoreError as error:
            if _is_refused(error):
                return False
            raise
        self._leases.bind(name, key, node.value, node.created_index, node.modified_index)
        return True

    async def _is_refound(self, name: str, lease: ItemLease, key: str) -> bool:
        """Read the item of a lease that has changed, or whose write may have arrived. Return whether the lease exists.

        The lease has ended if the key has another item or no item. An item without a time to live no longer belongs to
        the lease. If the item may come from an unanswered first write or from another program, it belongs to the lease
        only if the key contains the name of the lease.
        """
        created = lease.created
        node, _ = await self._threads.ask(lambda client: self._node(client, key))
        if node is None and not created:
            return True
        if node is None or (created and node.created_index != created):
            self._leases.remove(name)
            return False
        is_own = bool(created) or key.endswith(f"/{name}")
        if node.expiration is None or not is_own:
            self._leases.part(name)
        else:
            self._leases.bind(name, key, node.value, node.created_index, node.modified_index)
        return True

    async def _compared(self, when: Sequence[Unchanged]) -> Transacted:
        """Return the outcome of a transaction that has only conditions."""
        if not when:
            _, index = await self._threads.ask(lambda client: self._below(client, ""))
            return Transacted(True, index)
        item, index = await self._read(when[0].key)
        revision = 0 if item is None else item.revision
        if all(step.revision == revision for step in when):
            return Transacted(True, index)
        return Transacted(False, index, (item,) * len(when))

    async def _begun(self, watched: str, after: int | None) -> KeyWatcher:
        """Return the watcher from which a watch starts."""
        items, index = await self._threads.ask(lambda client: self._watched(client, watched))
        if after is not None and after > index:
            raise CompactedError(f"Deimos has indexes up to {index}, not {after}", oldest=index)
        reached = index if after is None else after
        return KeyWatcher(
            self._base.outer(watched).rstrip("/"),
            recursive=_is_prefix(watched),
            item_of=lambda node: self._item(node, watched),
            read=lambda client: self._watched(client, watched),
            reached=reached,
            begun=index,
            known={path: item for path, item in items.items() if item.revision <= reached},
        )

    async def _written(self, key: str, form: dict[str, Any]) -> DeimosNode:
        answer = await self._threads.ask(lambda client: client.put(self._base.outer(key), form), writes=True)
        return answer.node

    async def _deleted(self, key: str, revision: int | None) -> None:
        await self._threads.ask(lambda client: client.delete(self._base.outer(key), revision), writes=True)

    async def _read(self, key: str) -> tuple[Item[bytes] | None, int]:
        """Return the item of a key, and the index of the store."""
        self._check(key)
        node, index = await self._threads.ask(lambda client: self._node(client, key))
        return None if node is None else self._item(node, key), index

    async def _conflict(self, key: str, expect: int) -> StoreConflictError:
        item, _ = await self._read(key)
        if item is None and not expect:
            await self._check_free(key)
        revision = 0 if item is None else item.revision
        return StoreConflictError(f"{key!r} has revision {revision}, not {expect}", item=item)

    async def _check_free(self, key: str) -> None:
        """Check that no keys are below a key."""
        if (await self.list(f"{key}/", limit=1)).items:
            raise StoreError(
                f"{key!r} is a directory, which cannot have a value",
                status=Status.FAILED_PRECONDITION,
                processed="no",
            )

    def _node(self, client: DeimosClient, key: str) -> tuple[DeimosNode | None, int]:
        try:
            answer = client.get(self._base.outer(key))
        except StoreError as error:
            if not is_nothing(error):
                raise
            return None, error.index
        return None if answer.node.dir else answer.node, answer.index

    def _below(self, client: DeimosClient, prefix: str) -> _Items:
        """Return all items of a prefix."""
        try:
            answer = client.get(self._base.outer(prefix).rstrip("/"), recursive=True)
        except StoreError as error:
            if not is_nothing(error):
                raise
            return {}, error.index
        found = ((node.key, self._item(node, prefix)) for node in answer.node.keys())  # noqa: SIM118
        return {path: item for path, item in found if item is not None}, answer.index

    def _watched(self, client: DeimosClient, watched: str) -> _Items:
        """Return the items of a prefix, or the item of a key."""
        if _is_prefix(watched):
            return self._below(client, watched)
        node, index = self._node(client, watched)
        item = None if node is None else self._item(node, watched)
        return ({} if node is None or item is None else {node.key: item}), index

    def _item(self, node: DeimosNode, watched: str) -> Item[bytes] | None:
        """Return a node as an item, or None if it is not watched or its key is invalid here."""
        path = node.key.strip("/")
        key = self._base.inner(path) if path.startswith(self._base.prefix) else None
        is_watched = key == watched or (key is not None and _is_prefix(watched) and key.startswith(watched))
        if key is None or not is_watched:
            return None
        lease = None
        if node.expiration is not None:
            lease = self._leases.name_of(key, node.created_index) or f"deimos-{node.created_index}"
        return Item(key, node.value.encode(), node.modified_index, lease, node.created_index)

    def _check(self, key: str) -> None:
        check_key(key)
        _check_visible(key)

    def _text(self, key: str, value: bytes) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ConfigError(f"the value of {key!r} is not UTF-8, Deimos keeps only text") from None


def _is_prefix(watched: str) -> bool:
    return watched.endswith("/") or not watched


def _check_visible(key: str) -> None:
    """Check that Deimos includes a key or prefix in lists."""
    if any(word.startswith("_") for word in key.split("/")):
        raise ConfigError(f"the key {key!r} has a word that begins with '_', which Deimos hides")


def _is_refused(error: StoreError) -> bool:
    """Return whether Deimos refused a request because a condition did not hold."""
    return isinstance(error, DeimosRefusedError) and error.status in (Status.ABORTED, Status.NOT_FOUND)
