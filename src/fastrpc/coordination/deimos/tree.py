"""The keys of a store as the tree of Deimos: directories, times, conditions.

An item of the store is a file. A directory exists above a key, or if it has an item below `_deimos/`. No request can
reach these items: they store empty directories, and the times and indexes of directories.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from fastrpc.coordination.deimos.answers import NEVER, DialectError, KeyEvent, KeyNode, path_of
from fastrpc.coordination.deimos.events import EventLog
from fastrpc.coordination.deimos.requests import KeyRequest
from fastrpc.errors import StoreError
from fastrpc.stores.base import KEY_BYTES, Deletion, Item, ItemChange, Write
from fastrpc.stores.local import ITEM_LEASE, Creation, LocalStore, Uncommitted

__all__ = ["KeyTree"]

#: Most bytes of the nodes in one answer.
_LISTED_BYTES: Final = 8 * 1024 * 1024

#: The prefix of the items that store directories.
_DIRECTORIES: Final = "_deimos/"

#: Prefixes of the locks, leaders and schedules of programs that use `store://`. Clients of Deimos may only read them.
_READ_ONLY: Final = frozenset({"locks", "leaders", "schedules", "_deimos"})

#: The lease of a key that expires immediately, as a lease of 0 seconds is not possible.
_SHORTEST_SECONDS: Final = 0.01

#: The earliest valid expiration in nanoseconds since 1970: the year 2000, as in Deimos.
_FIRST_EXPIRATION: Final = 946_684_800_000_000_000
_SECOND: Final = 1_000_000_000


class KeyTree:
    """Executes the requests of Deimos. Methods change the store immediately; `LocalStore.settled` waits for the commit.

    The tree observes its store until `close` is called.
    """

    def __init__(self, store: LocalStore, *, now: Callable[[], int] = time.time_ns) -> None:
        self._store = store
        self._items, self._leases = store.content.items, store.content.leases
        self._now = now
        # The expirations of the tree's leases, by lease, in nanoseconds since 1970.
        self._ends: dict[str, int] = {}
        # The event of the change in progress.
        self._event: KeyEvent | None = None
        history = store.observe(self)
        self.log = EventLog(history[0].revision if history else store.revision + 1)
        self._remember(history)

    def close(self) -> None:
        self._store.observe(None)

    @property
    def index(self) -> int:
        return self._store.content.revision

    # Reading

    def find(self, key: str) -> KeyNode | None:
        """Return a node without the nodes below it; None if there is no such node."""
        if key.partition("/")[0] == "_deimos":
            return None
        if not key:
            return KeyNode("", 0, 0, is_directory=True)
        item = self._items.get(key)
        if item is not None:
            return self._node(key, item)
        marker = self._items.get(_DIRECTORIES + key)
        if marker is None:
            marker = next(self._items.below(f"{key}/"), None)
        return None if marker is None else self._node(key, marker, is_directory=True)

    def get(self, request: KeyRequest) -> KeyEvent:
        """Return a node; a directory includes its nodes."""
        node = self._found(request.key)
        if node.is_directory:
            node = self._listed(node, is_recursive=request.is_recursive)
        return KeyEvent("get", node)

    def next_child(self, key: str) -> str:
        """Return the key of the child that `post` would create now."""
        name = str(self.index + 1)
        return f"{key}/{name}" if key else name

    # Writing

    def put(self, request: KeyRequest) -> KeyEvent:
        """Set, create, update, or compare and swap."""
        if request.must_exist is False:
            return self._create(request.key, request, "create")
        if request.must_exist is None and not request.is_conditional:
            return self._create(request.key, request, "set", replaces=True)
        return self._change(request, "update" if request.must_exist else "compareAndSwap")

    def post(self, request: KeyRequest) -> KeyEvent:
        """Create a child whose name is its index."""
        return self._create(self.next_child(request.key), request, "create")

    def delete(self, request: KeyRequest) -> KeyEvent:
        """Delete, or compare and delete."""
        key = request.key
        if request.is_conditional:
            node = self._found(key)
            if node.is_directory:
                raise self._refusal(102, key)
            self._compare(node, request)
            self._check_writable(key)
            return self._delete(node, "compareAndDelete")
        self._check_writable(key)
        node = self._found(key)
        if node.is_directory and not (request.is_directory or request.is_recursive):
            raise self._refusal(102, key)
        if node.is_directory and not request.is_recursive and any(self._below(key)):
            raise self._refusal(108, key)
        return self._delete(node, "delete")

    # The interface for the store

    def ending(self, lease: str, keys: Sequence[str]) -> Sequence[str]:
        """Return the keys that are removed with a lease: its keys, and all keys in a directory that expires with it."""
        gone = set(keys)
        for key in keys:
            directory = key.removeprefix(_DIRECTORIES)
            node = self.find(directory) if directory != key else None
            if node is not None and node.is_directory:
                below, removed = self._content(directory)
                gone.update(below)
                after = KeyNode(directory, self.index + 1, node.created)
                self._event = KeyEvent("expire", after, node, removed)
        if not keys:
            self._ends.pop(lease, None)
        return sorted(gone)

    def made(self, changes: Sequence[Uncommitted], *, is_end: bool) -> None:
        """Record the event of changes that are not committed yet."""
        event, self._event = self._event, None
        if event is not None:
            self.log.add(event)
        for one in changes:
            before, change = one.before, one.change
            if not isinstance(change, ItemChange) or isinstance(before, int | float):
                continue
            if event is None and not change.key.startswith(_DIRECTORIES):
                self.log.add(self._event_of(before, change, is_end=is_end))
            if before is not None and before.lease is not None:
                self._ends.pop(before.lease, None)

    def committed(self, revision: int) -> None:
        """Make the events up to a revision visible."""
        self.log.commit(revision)

    def undone(self) -> None:
        """Drop the events that are not visible yet."""
        self.log.forget()
        self._forget_ends()

    def _forget_ends(self) -> None:
        """Remove the expirations of leases that no longer exist."""
        there = {name for name, _, _ in self._leases.all()}
        self._ends = {name: end for name, end in self._ends.items() if name in there}

    def ended(self) -> None:
        """End the watches, because the store has stopped."""
        self.log.end()

    def _remember(self, history: Sequence[ItemChange]) -> None:
        """Rebuild the events of an earlier run from the store's history. The times of these events are unknown."""
        known: dict[str, Item[bytes]] = {}
        for revision, group in itertools.groupby(history, key=lambda change: change.revision):
            changes = list(group)
            of_directories = [one for one in changes if one.key.startswith(_DIRECTORIES)]
            for change in changes:
                if change not in of_directories:
                    self.log.add(self._event_of(known.get(change.key), change, is_end=False))
            if len(of_directories) == len(changes):
                # A transaction has one event. Parent directories that were created with it have no event, nor do
                # directories that were deleted below another directory.
                shown = (max if changes[0].item else min)(changes, key=lambda change: len(change.key))
                key, item = shown.key.removeprefix(_DIRECTORIES), shown.item or known.get(shown.key)
                created = revision if item is None else item.created
                node = KeyNode(key, revision, created, is_directory=True)
                self.log.add(KeyEvent("set" if shown.item else "delete", node))
            for one in changes:
                known.pop(one.key, None)
                if one.item is not None:
                    known[one.key] = one.item
        self.log.commit(self._store.revision)
        self._forget_ends()

    def _create(self, key: str, request: KeyRequest, action: str, *, replaces: bool = False) -> KeyEvent:
        parents = self._missing_above(key)
        self._check_writable(key)
        before = self.find(key)
        if before is not None and not replaces:
            raise self._refusal(105, key)
        if before is not None and before.is_directory:
            raise self._refusal(102, key)
        is_directory = request.is_directory
        expires = self._expiration(request.ttl)
        revision = self.index + 1
        node = self._new_node(key, revision, revision, request, expires, is_directory=is_directory)

        def steps(lease: str | None) -> Iterator[Write | Deletion]:
            yield from (Creation(_DIRECTORIES + parent, b"") for parent in parents)
            if is_directory and before is not None:
                yield Deletion(key)
            name = _DIRECTORIES + key if is_directory else key
            yield Creation(name, b"" if is_directory else request.value, lease)

        return self._do(KeyEvent(action, node, before), steps, expires)

    def _change(self, request: KeyRequest, action: str) -> KeyEvent:
        """Replace the value and the expiration of a node, which keeps its created index."""
        key = request.key
        self._check_writable(key)
        before = self._found(key)
        is_directory = before.is_directory
        if is_directory and (request.value or request.is_conditional):
            raise self._refusal(102, key)
        self._compare(before, request)
        expires = self._expiration(request.ttl)
        revision = self.index + 1
        node = self._new_node(key, revision, before.created, request, expires, is_directory=is_directory)

        def steps(lease: str | None) -> Iterator[Write | Deletion]:
            if is_directory:
                # The directory's item is new, so it has the indexes of this creation.
                yield Write(_DIRECTORIES + key, b"", lease)
            else:
                yield Write(key, request.value, lease)

        if before.expires is not None:
            # The answer has the new expiration, as in Deimos.
            shown = NEVER if expires is None else expires
            before = replace(before, expires=shown)
        return self._do(KeyEvent(action, node, before), steps, expires)

    def _delete(self, node: KeyNode, action: str) -> KeyEvent:
        key = node.key
        below, removed = self._content(key) if node.is_directory else ([], [])
        revision = self.index + 1
        after = KeyNode(key, revision, node.created, is_directory=node.is_directory)
        names = [_DIRECTORIES + key if node.is_directory else key, *below]
        return self._do(KeyEvent(action, after, node, removed), lambda _: map(Deletion, names), None)

    def _do(
        self,
        event: KeyEvent,
        steps: Callable[[str | None], Iterator[Write | Deletion]],
        expires: int | None,
    ) -> KeyEvent:
        """Change the store and return the event.

        Raises:
            DialectError: the key of a child's or a directory's item would be too long.
            StoreError: the store has stopped, or is full.
        """
        for step in steps(None):
            if isinstance(step, Write) and len(step.key.encode()) > KEY_BYTES:
                most = KEY_BYTES - (len(_DIRECTORIES) if step.key.startswith(_DIRECTORIES) else 0)
                path = path_of(step.key.removeprefix(_DIRECTORIES))
                raise DialectError(209, f"{path[:40]}… has more than {most} bytes", self.index)
        lease = None
        if expires is not None:
            seconds = max((expires - self._now()) / _SECOND, _SHORTEST_SECONDS)
            lease = self._store.add_lease(seconds, ITEM_LEASE)
            self._ends[lease] = expires
        self._event = event
        try:
            self._store.alter(list(steps(lease)))
        except StoreError:
            self._store.alter((), over=[] if lease is None else [lease])
            raise
        finally:
            self._event = None
        return event

    def _found(self, key: str) -> KeyNode:
        """Return a node.

        Raises:
            DialectError: the node or a directory above it is missing, or a file is above it.
        """
        missing = self._missing_above(key)
        if missing:
            raise self._refusal(100, missing[0])
        node = self.find(key)
        if node is None:
            raise self._refusal(100, key)
        return node

    def _missing_above(self, key: str) -> list[str]:
        """Return the missing directories above a key. DialectError: a file is above the key."""
        words = key.split("/")
        missing: list[str] = []
        for end in range(1, len(words)):
            above = "/".join(words[:end])
            node = None if missing else self.find(above)
            if node is None:
                missing.append(above)
            elif not node.is_directory:
                raise self._refusal(104, above)
        return missing

    def _check_writable(self, key: str) -> None:
        if not key:
            raise self._refusal(107, "")
        if key.partition("/")[0] in _READ_ONLY:
            raise self._refusal(106, key)

    def _compare(self, node: KeyNode, request: KeyRequest) -> None:
        wanted, index, there = request.value_before, request.index_before, node.value or b""
        failed = []
        if wanted is not None and wanted != there:
            texts = [one.decode(errors="surrogateescape") for one in (wanted, there)]
            failed.append(f"[{texts[0]} != {texts[1]}]")
        if index and index != node.modified:
            failed.append(f"[{index} != {node.modified}]")
        if failed:
            raise DialectError(101, " ".join(failed), self.index)

    def _refusal(self, code: int, key: str) -> DialectError:
        return DialectError(code, path_of(key), self.index)

    def _below(self, key: str) -> Iterator[Item[bytes]]:
        """Yield the items of keys and of directories in a directory."""
        yield from self._items.below(f"{key}/")
        yield from self._items.below(f"{_DIRECTORIES}{key}/")

    def _content(self, directory: str) -> tuple[list[str], list[str]]:
        """Return the keys of all items that are removed with a directory, and the keys of all its nodes."""
        names = [item.key for item in self._below(directory)]
        nodes = set()
        for name in names:
            words = name.removeprefix(_DIRECTORIES).split("/")
            first = directory.count("/") + 2
            nodes |= {"/".join(words[:end]) for end in range(first, len(words) + 1)}
        return names, sorted(nodes)

    def _listed(self, directory: KeyNode, *, is_recursive: bool) -> KeyNode:
        """Return a directory with its visible nodes: its children, or all nodes below it."""
        nodes, size = [], 0
        for key in self._children(directory.key):
            node = self.find(key)
            if node is not None and is_recursive and node.is_directory:
                node = self._listed(node, is_recursive=True)
            if node is not None:
                nodes.append(node)
                size += node.size
            if size > _LISTED_BYTES:
                raise DialectError(209, f"the answer has more than {_LISTED_BYTES} bytes", self.index)
        return replace(directory, nodes=nodes, nodes_size=size)

    def _children(self, directory: str) -> list[str]:
        """Return the sorted keys of a directory's visible children; skip the nodes below the children."""
        found = set()
        below = f"{directory}/" if directory else ""
        for prefix in (below, _DIRECTORIES + below):
            item = next(self._items.below(prefix), None)
            while item is not None:
                name, slash, _ = item.key.removeprefix(prefix).partition("/")
                if not name.startswith("_"):
                    found.add(below + name)
                # Continue after all keys below the child: "0" is the character after "/".
                behind = f"{prefix}{name}0" if slash else f"{item.key}\0"
                item = next(self._items.below(prefix, behind), None)
        return sorted(found)

    def _node(self, key: str, item: Item[bytes], *, is_directory: bool = False) -> KeyNode:
        """Return the node of an item. For a directory, `item` may be the item of its first key."""
        expires = self._expires(item) if not is_directory or item.key.startswith(_DIRECTORIES) else None
        if is_directory:
            return KeyNode(key, item.created, item.created, None, True, expires, self._left(expires))
        return KeyNode(key, item.revision, item.created, item.value, False, expires, self._left(expires))

    def _new_node(
        self,
        key: str,
        revision: int,
        created: int,
        request: KeyRequest,
        expires: int | None,
        *,
        is_directory: bool,
    ) -> KeyNode:
        value = None if is_directory else request.value
        return KeyNode(key, revision, created, value, is_directory, expires, self._left(expires))

    def _event_of(self, before: Item[bytes] | None, change: ItemChange, *, is_end: bool) -> KeyEvent:
        """Return the event of a change that was made by the store itself or by a client of another protocol."""
        node_before = None if before is None else self._node(change.key, before)
        if change.item is not None:
            return KeyEvent("set", self._node(change.key, change.item), node_before)
        created = 0 if before is None else before.created
        node = KeyNode(change.key, change.revision, created)
        return KeyEvent("expire" if is_end else "delete", node, node_before)

    def _expires(self, item: Item[bytes]) -> int | None:
        if item.lease is None:
            return None
        found = self._ends.get(item.lease)
        if found is None:
            left = self._leases.seconds_left(item.lease)
            found = self._now() + int(left * _SECOND)
            if item.lease.startswith(ITEM_LEASE):
                self._ends[item.lease] = found
        return found

    def _expiration(self, ttl: int | None) -> int | None:
        """Return the expiration for a time to live in seconds, computed with 64-bit integers like in Go."""
        if ttl is None:
            return None
        found = _wrapped(self._now() + _wrapped(_wrapped(ttl) * _SECOND))
        return found if found >= _FIRST_EXPIRATION else None

    def _left(self, expires: int | None) -> int:
        """Return the seconds until an expiration, rounded up; after the expiration, rounded towards 0."""
        if expires is None:
            return 0
        left = expires - self._now()
        return -(-left // _SECOND) if left > 0 else math.trunc(left / _SECOND)


def _wrapped(number: int) -> int:
    """Wrap an integer to signed 64 bits."""
    return (number + 2**63) % 2**64 - 2**63
