"""A store in Consul 1.8 or later, by the HTTP API of an agent.

A lease is a session of Consul without health checks that deletes its keys at its end. An item gets a lease when the
session locks the key.
"""

import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

from fastrpc.errors import CompactedError, ConfigError, StoreError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.consul.agent import AgentAccess, Index
from fastrpc.stores.base import (
    Deletion,
    Item,
    ItemChange,
    ItemPage,
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
from fastrpc.stores.consul.followed import Followed
from fastrpc.stores.consul.keys import ConsulKeys
from fastrpc.stores.remote import ClientThreads, KeyPrefix

__all__ = ["ConsulStore", "open_consul_store"]

T = TypeVar("T")

#: Seconds for which the agent may delay the answer to a watch (a blocking query).
WATCH_SECONDS: Final = 55.0

#: The most states that are kept for later watches (_KEPT_WATCHES), and the most keys of such a state (_KEPT_KEYS).
_KEPT_WATCHES: Final = 16
_KEPT_KEYS: Final = 10_000

_FIRST_VERSION: Final = (1, 8)

_VERSION: Final = re.compile(r"(\d+)\.(\d+)")


def open_consul_store(url: RegistryURL) -> "ConsulStore":
    """Return the store `consul://host:port?base=…&token_file=…&dc=…`. The default port is 8500.

    Raises:
        ConfigError: an option is wrong, or py-consul is not installed.
    """
    access, base = AgentAccess(url), KeyPrefix(url)
    url.refuse_unread()
    return ConsulStore(access, base)


class ConsulStore:
    """The key-value store of a datacenter, below a base.

    A watch reads all items of its prefix after each change. It can start from an earlier revision only if nothing has
    changed since, or if this object has listed or watched the prefix at that revision.
    """

    limits: Final = StoreLimits(least_lease=10.0, most_lease=86_400.0, every_change=False)

    def __init__(self, access: AgentAccess, base: KeyPrefix) -> None:
        self._threads = ClientThreads(lambda: ConsulKeys(access.connect(), base))
        self._is_known = False
        # States for later watches, by key or prefix.
        self._followed: dict[str, Followed] = {}

    async def __aenter__(self) -> Self:
        self._threads.open()
        try:
            # If the agent is unreachable now, the first request checks the version.
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
        return (await self._ask(lambda keys: keys.read(key, Index(), stale=stale))).get(key)

    async def list(
        self, prefix: str = "", *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemPage:
        """Return the first items. If more items follow, some items may be newer than the revision of the page."""
        check_page(prefix, limit)
        followed = Followed()
        page, known = await self._ask(
            lambda keys: keys.page(prefix, followed.index, limit, after, stale=stale)
        )
        if not stale and len(known) <= _KEPT_KEYS:
            followed.begin(known)
            self._keep(prefix, followed)
        return page

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

    def watch(self, watched: str, *, after: int | None = None) -> AsyncGenerator[ItemChange, None]:
        check_watched(watched)
        # Start now: once there are later writes, it may be unknown which changes came after the revision.
        beginning = self._threads.begin(self._begun(watched, after))

        async def changes() -> AsyncGenerator[ItemChange, None]:
            followed = await beginning
            reached = followed.base if after is None else after
            try:
                with self._threads.lent(again=False) as thread:
                    while True:
                        for change in followed.after(reached):
                            yield change
                            reached = change.revision
                        found = await thread.run(
                            lambda keys: keys.read(watched, followed.index, wait_seconds=WATCH_SECONDS)
                        )
                        followed.take(found)
            except CompactedError:
                raise
            except BaseException:
                self._keep(watched, followed)
                raise

        return changes()

    async def lease(self, seconds: float) -> str:
        check_lease_seconds(seconds, self.limits)
        # If the answer is lost, the session expires.
        return await self._ask(lambda keys: keys.open_session(seconds))

    async def renew(self, lease: str) -> bool:
        return await self._ask(lambda keys: keys.renew_session(lease))

    async def revoke(self, lease: str) -> bool:
        return await self._ask(lambda keys: keys.end_session(lease), writes=True)

    async def _begun(self, watched: str, after: int | None) -> Followed:
        """Return the state from which a watch continues."""
        kept = None if after is None else self._followed.get(watched)
        if kept is not None and after is not None and kept.base <= after:
            # Only one watch can continue from a state.
            del self._followed[watched]
            return kept
        followed = Followed()
        items = await self._ask(lambda keys: keys.read(watched, followed.index))
        followed.begin({key: item.revision for key, item in items.items()})
        if after is not None:
            followed.reach_back(watched, after, items)
        return followed

    def _keep(self, watched: str, followed: Followed) -> None:
        """Keep a state for a later watch, except if a kept state reaches back further."""
        kept = self._followed.pop(watched, followed)
        self._followed[watched] = min(kept, followed, key=lambda one: one.base)
        if len(self._followed) > _KEPT_WATCHES:
            del self._followed[next(iter(self._followed))]

    async def _expecting(
        self, key: str, expect: int | None, step: Write | Deletion
    ) -> tuple[Transacted, int]:
        outcome, deleted = await self._transact([] if expect is None else [Unchanged(key, expect)], [step])
        return check_outcome(outcome, key, expect), deleted

    async def _transact(
        self, when: Sequence[Unchanged], do: Sequence[Write | Deletion]
    ) -> tuple[Transacted, int]:
        check_transaction(when, do)
        return await self._ask(lambda keys: keys.transact(when, do), writes=True)

    async def _ask(self, work: Callable[[ConsulKeys], T], *, writes: bool = False) -> T:
        await self._check_version()
        return await self._threads.ask(work, writes=writes)

    async def _check_version(self) -> None:
        """Check the agent's version once. ConfigError: it is too old."""
        if not self._is_known:
            text = await self._threads.ask(lambda keys: keys.version())
            found = _VERSION.match(text)
            if found and tuple(map(int, found.groups())) < _FIRST_VERSION:
                raise ConfigError(f"Consul has version {text}, the first that works is 1.8")
            self._is_known = True
