"""The interface of key-value stores with one revision for all keys, and their items."""

import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from fastrpc.errors import ConfigError, StoreConflictError

__all__ = [
    "SHORTEST_LEASE_SECONDS",
    "Deletion",
    "Folder",
    "Item",
    "ItemPage",
    "Journal",
    "ItemChange",
    "ItemWatch",
    "LeaseChange",
    "Saved",
    "StoreBackend",
    "StoreLimits",
    "Transacted",
    "Unchanged",
    "Write",
    "check_key",
    "check_lease_seconds",
    "check_outcome",
    "check_page",
    "check_prefix",
    "check_transaction",
    "check_watched",
    "revision_of_now",
]

#: Most bytes of a key: Consul's limit.
KEY_BYTES: Final = 512

#: Most bytes of a value: a transaction of Consul has values in base64 and at most 512 KiB.
VALUE_BYTES: Final = 256 * 1024

#: Most conditions and operations of a transaction: Consul's limit.
TRANSACTION_STEPS: Final = 64

SHORTEST_LEASE_SECONDS: Final = 1.0

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Item(Generic[T_co]):
    """A key with its value. In a backend the value is bytes."""

    key: str
    value: T_co

    #: The revision of the store at which the item was written.
    revision: int

    #: The lease of the item: when it ends, the item is removed. None for a permanent item.
    lease: str | None = None

    #: The revision at which the key was created, after its last deletion; 0 in a store with folders.
    created: int = 0


@dataclass(frozen=True, slots=True)
class Folder:
    """All items of one folder, at one moment."""

    #: A number that differs after each change of the folder and is never used again; 0 for an empty folder.
    revision: int

    #: The items are in the order of their keys.
    items: tuple[Item[bytes], ...]

    #: Bytes of all values together.
    size: int = 0


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The condition that a key has a revision; 0 means that the key must not exist."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Write:
    """The operation that writes an item, whether the key exists or not."""

    key: str
    value: bytes

    #: The lease of the item; None for a permanent item.
    lease: str | None = None


@dataclass(frozen=True, slots=True)
class Deletion:
    """The operation that removes a key if it exists."""

    key: str


@dataclass(frozen=True, slots=True)
class Transacted:
    """The result of a transaction."""

    succeeded: bool

    #: The revision of the store after the transaction.
    revision: int

    #: The present items of the compared keys if the transaction did not succeed.
    items: tuple[Item[bytes] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemPage:
    """The first items of a prefix, in the order of their keys."""

    items: tuple[Item[bytes], ...]

    #: The revision of the store at this moment: a watch after this revision misses no change.
    revision: int

    #: True if more items follow.
    is_cut: bool


@dataclass(frozen=True, slots=True)
class ItemChange:
    """A change of one key: it was written or deleted. All changes of a transaction have the same revision."""

    key: str
    revision: int

    #: None: deleted.
    item: Item[bytes] | None


class ItemWatch(AsyncGenerator[ItemChange, None]):
    """A watch that also knows up to which revision it is complete, so that a later watch may continue from there.

    Args:
        changes: yields changes, and in between revisions up to which all changes were yielded.

    Attributes:
        reached: the latest revision up to which all changes were yielded; 0 before the first.
    """

    def __init__(self, changes: AsyncGenerator[ItemChange | int, None]) -> None:
        self.reached = 0
        self._changes = changes

    async def asend(self, value: None) -> ItemChange:
        return await self._next(self._changes.asend(value))

    async def athrow(self, *error: Any) -> ItemChange:
        return await self._next(self._changes.athrow(*error))

    async def aclose(self) -> None:
        await self._changes.aclose()

    async def _next(self, first: Awaitable[ItemChange | int]) -> ItemChange:
        found = await first
        while isinstance(found, int):
            self.reached = found
            found = await anext(self._changes)
        return found


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """The limits of a store. A request beyond a limit raises ConfigError before it is sent."""

    #: The shortest lease in seconds.
    least_lease: float = SHORTEST_LEASE_SECONDS
    most_lease: float = float("inf")

    #: True if the length of a lease must be whole seconds.
    whole_seconds: bool = False

    #: True if a watch yields every change of a key, and not only the latest.
    every_change: bool = True

    #: The most bytes of a value.
    most_value: int = VALUE_BYTES

    #: The most conditions and operations of a transaction together.
    most_transaction: int = TRANSACTION_STEPS

    #: The most keys of a transaction.
    most_keys: int = TRANSACTION_STEPS

    #: The most items of a lease; None: any number.
    lease_items: int | None = None

    #: True if values must be UTF-8.
    is_text: bool = False

    #: True if a request ends by itself at the caller's deadline, and after 5 s at the latest.
    ends_in_time: bool = False

    #: True if requests usually take effect in the order in which they were made. A caller may use this to save a wait,
    #: but must check the order.
    in_order: bool = False

    #: True if a key cannot be below another key: if `shop/limits` exists, `shop` cannot.
    is_tree: bool = False


class StoreBackend(Protocol):
    """A store with one revision for all keys: an integer that rises with each change. It belongs to one event loop.

    Reads return only committed items. `processed` of a StoreError is "no" if the store did nothing; `retryable` means
    that the same request may succeed within seconds. A backend does not repeat requests. Callers cancel requests at
    their deadlines, except if the store `ends_in_time`. The functions of this module check keys, prefixes,
    transactions and leases.
    """

    @property
    def limits(self) -> StoreLimits: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def get(self, key: str, *, stale: bool = False) -> Item[bytes] | None:
        """Return the item of a key. With `stale` it may be outdated, from a member of the cluster that lags."""

    async def list(
        self, prefix: str = "", *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemPage:
        """Return the first items of a prefix whose keys sort after `after`."""

    async def put(
        self, key: str, value: bytes, *, expect: int | None = None, lease: str | None = None
    ) -> int:
        """Write an item and return its revision.

        Raises:
            StoreConflictError: the key does not have the expected revision, where 0 means that it must not exist.
            StoreError: NOT_FOUND: the lease has ended; RESOURCE_EXHAUSTED: the store is full.
        """

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove a key; return whether it existed. StoreConflictError: the key does not have the expected revision."""

    async def transact(self, when: Sequence[Unchanged], do: Sequence[Write | Deletion]) -> Transacted:
        """Execute all operations if all keys have the expected revisions, otherwise none."""

    def watch(self, watched: str, *, after: int | None = None) -> AsyncGenerator[ItemChange, None]:
        """Yield the changes of a key or prefix in order, after a revision or from now on.

        The result may be an `ItemWatch`.

        Raises:
            CompactedError: the history starts after the revision, or ends before it.
            StoreError: the store has stopped, or is unreachable.
        """

    async def lease(self, seconds: float) -> str:
        """Create a lease. After `seconds` without `renew` it ends, and its items are removed."""

    async def renew(self, lease: str) -> bool:
        """Renew a lease; False if it has ended."""

    async def revoke(self, lease: str) -> bool:
        """End a lease now and remove its items; return whether the lease existed."""


@dataclass(frozen=True, slots=True)
class LeaseChange:
    """A change of a lease: it was created or has ended."""

    name: str

    #: None: ended.
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Saved:
    """The content of a journal."""

    revision: int = 0

    #: The revision of the latest change that is no longer in the history.
    compacted: int = 0

    items: Sequence[Item[bytes]] = ()
    leases: Sequence[LeaseChange] = ()
    history: Sequence[ItemChange] = ()


class Journal(Protocol):
    """A journal that keeps the changes of a store across restarts. One thread calls it."""

    def open(self) -> Saved:
        """Return the content. StoreError: another store uses it, or it is damaged or of a later version."""

    def commit(self, changes: Sequence[ItemChange | LeaseChange], compacted: int) -> None:
        """Write changes, all or none, and drop the history up to a revision.

        StoreError with RESOURCE_EXHAUSTED: the journal is full, and no change is kept. After any other error the
        changes may be kept.
        """

    def close(self) -> None: ...

    def room(self) -> int:
        """Return how many bytes of keys and values fit; negative if the journal is full. Any thread may call it."""


def check_key(key: str) -> None:
    """Raise ConfigError if a key is not made of printable words joined by `/`."""
    if not key.isprintable():
        raise ConfigError(f"the key {key!r} has characters that cannot be printed")
    words = key.split("/")
    if "" in words or "." in words or ".." in words:
        raise ConfigError(
            f"the key {key!r} has a word that is empty, '.' or '..'",
            hint="join words by '/', as in shop/limits",
        )
    if len(key) > KEY_BYTES or not key.isascii():
        size = len(key.encode())
        if size > KEY_BYTES:
            raise ConfigError(f"the key {key[:40]!r}… has {size} bytes, the limit is {KEY_BYTES}")


def check_prefix(prefix: str) -> None:
    """Raise ConfigError if a prefix is neither empty nor made of words that each end in `/`."""
    if prefix:
        if not prefix.endswith("/"):
            raise ConfigError(f"the prefix {prefix!r} does not end in '/'")
        check_key(prefix[:-1])


def check_watched(watched: str) -> None:
    """Raise ConfigError if a text is neither a key nor a prefix."""
    if watched.endswith("/") or not watched:
        check_prefix(watched)
    else:
        check_key(watched)


def check_lease_seconds(seconds: float, limits: StoreLimits = StoreLimits()) -> None:
    """Raise ConfigError if a store cannot keep a lease for `seconds`. NaN and infinity are refused, too."""
    if not limits.least_lease <= seconds <= limits.most_lease or seconds == float("inf"):
        upper = "" if limits.most_lease == float("inf") else f" to {limits.most_lease:g} s"
        raise ConfigError(f"the lease has {seconds:g} s, it must be from {limits.least_lease:g} s{upper}")
    if limits.whole_seconds and seconds != int(seconds):
        raise ConfigError(f"the lease has {seconds:g} s, this store needs whole seconds")


def check_transaction(when: Sequence[Unchanged], do: Sequence[Write | Deletion]) -> None:
    """Raise ConfigError if a transaction has too many steps, an invalid key, a long value, or a key twice."""
    steps = len(when) + len(do)
    if steps > TRANSACTION_STEPS:
        raise ConfigError(f"the transaction has {steps} steps, the limit is {TRANSACTION_STEPS}")
    for step in (*when, *do):
        check_key(step.key)
        if isinstance(step, Write) and len(step.value) > VALUE_BYTES:
            raise ConfigError(
                f"the value of {step.key!r} has {len(step.value)} bytes, the limit is {VALUE_BYTES}"
            )
    if len({step.key for step in do}) < len(do):
        raise ConfigError("the transaction has two operations on one key")


def check_page(prefix: str, limit: int) -> None:
    """Raise ConfigError if a prefix or a number of items is invalid."""
    check_prefix(prefix)
    if limit < 1:
        raise ConfigError(f"limit is {limit}, it must be a whole number from 1")


def check_outcome(outcome: Transacted, key: str, expect: int | None) -> Transacted:
    """Return the outcome of a transaction on one key; raise StoreConflictError if the key has another revision."""
    if not outcome.succeeded:
        item = outcome.items[0]
        raise StoreConflictError(
            f"{key!r} has revision {0 if item is None else item.revision}, not {expect}", item=item
        )
    return outcome


def revision_of_now() -> int:
    """Return the first revision of a store that has no record of earlier revisions.

    The result is 1,024 times the milliseconds since 2020. A store makes fewer than 1,024 revisions in a millisecond, so
    the result exceeds all earlier revisions, unless the wall clock was set back.
    """
    return max(int(time.time() * 1000) - 1_577_836_800_000, 0) << 10
