"""Histories of a store under faults, for the program of `tests/services/porcupine`, which judges them."""

import asyncio
import contextlib
import json
import random
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import fastrpc
from fastrpc import StoreError
from fastrpc.coordination import Delete, Item, Put, Store, open_store, unchanged
from fastrpc.errors import StoreConflictError
from tests.support.cluster import in_thread
from tests.support.proxy import FaultProxy

__all__ = ["Client", "Faults", "History", "run_clients", "verdict"]

KEYS: Final = ("h/0", "h/1", "h/2", "h/3")

#: The number of a revision that the store has lost.
_LOST: Final = -1

#: Seconds after which the last write of a history is not tried again.
END_SECONDS = 20.0


@dataclass
class History:
    """The steps of clients, and their outcomes."""

    model: str = "store"
    is_exact: bool = True

    #: The revision of the store at the beginning.
    revision: int = 0

    operations: list[dict[str, Any]] = field(default_factory=list)

    #: How many operations were unknown to their clients.
    unknown: int = 0

    def write(self, path: Path) -> Path:
        """Write it into a file, and return that."""
        path.write_text(json.dumps(vars(self)))
        return path

    def resolve(self, kept: dict[int, dict[int, int]]) -> None:
        """Take the outcome of unknown writes from the changes that the store has kept.

        A judge could only try each of them at any later instant.

        Args:
            kept: by revision and key the values that were written, 0 where the key was deleted.
        """
        revisions = {
            value: revision for revision, changes in kept.items() for value in changes.values() if value
        }
        unknown = [one for one in self.operations if one["outcome"] == "unknown"]
        for one in unknown:
            value = one["do"][0]["value"]
            if value in revisions:
                one |= {"outcome": "done", "revision": revisions[value]}
        told = {one.get("revision") for one in self.operations}
        for key in range(len(KEYS)):
            # Deletions have no revision: a deletion without an answer has the first unknown one.
            left = sum(changes.get(key) == 0 for revision, changes in kept.items() if revision not in told)
            left -= sum(bool(one.get("deleted")) and one["do"][0]["key"] == key for one in self.operations)
            deletions = [one for one in unknown if one["do"][0] == {"key": key, "value": 0}]
            for one in sorted(deletions, key=lambda one: one["call"])[: max(left, 0)]:
                one |= {"outcome": "done", "deleted": True}
        self._bound([one for one in unknown if "revision" in one])
        self.unknown = len(unknown)
        self.operations = [one for one in self.operations if one["outcome"] != "unknown"]
        self._renumber(kept)

    def _renumber(self, kept: dict[int, dict[int, int]]) -> None:
        """Number the revisions from the beginning without gaps: a store that was killed leaves some numbers out.

        A revision that was returned to a client and is not kept gets a number that the judge accepts nowhere.
        """
        numbers = {revision: number for number, revision in enumerate(sorted(kept), self.revision + 1)}
        numbers[0] = 0
        for one in self.operations:
            for place in (one, *one.get("items", ()), *one.get("when", ())):
                for name in ("revision", "created"):
                    if name in place:
                        place[name] = numbers.get(place[name], _LOST)

    def _bound(self, writes: Sequence[dict[str, Any]]) -> None:
        """Let writes without an answer return with the first answer that shows their revision, or a later one.

        A judge that may put each of hundreds anywhere after its call does not finish within its minute.
        """
        told = [
            (
                max([one.get("revision", 0), *(item["revision"] for item in one.get("items", ()))]),
                one["return"],
            )
            for one in self.operations
            if one["return"]
        ]
        for one in writes:
            behind = (back for revision, back in told if revision >= one["revision"] and back > one["call"])
            one["return"] = min(behind, default=0)

    def kinds(self) -> set[str]:
        """Return the kinds of its operations."""
        return {str(one["kind"]) for one in self.operations}

    def outcomes(self) -> dict[str, int]:
        """Return how many operations had each outcome."""
        found = [one["outcome"] for one in self.operations]
        counts = {name: found.count(name) for name in ("done", "refused", "unknown")}
        return counts | {"unknown": counts["unknown"] + self.unknown}


class Client:
    """Reads, writes and compares four keys at random, one after the other."""

    def __init__(
        self, number: int, store: Store, history: History, chance: random.Random, patience: float
    ) -> None:
        self._number = number
        self._store = store
        self._history = history
        self._chance = chance
        self._patience = patience
        self._values = iter(range(number * 1_000_000 + 1, (number + 1) * 1_000_000))
        #: The revisions that the client saw, by key.
        self._known = dict.fromkeys(range(len(KEYS)), 0)

    async def run(self, count: int) -> None:
        """Do the given number of operations."""
        kinds = [
            self._get,
            self._get,
            self._put,
            self._put,
            self._compare,
            self._compare,
            self._delete,
            self._transact,
        ]
        for _ in range(count):
            await self._chance.choice(kinds)()
            await asyncio.sleep(self._chance.random() * 0.02)

    async def _get(self) -> None:
        key = self._key()
        await self._note(
            {"kind": "get", "read": [key]},
            lambda: self._store.get(KEYS[key]),
            lambda found: {"items": [self._told(key, found)]},
        )

    async def _put(self) -> None:
        key, value = self._key(), next(self._values)
        await self._note(
            {"kind": "put", "do": [{"key": key, "value": value}]},
            lambda: self._store.put(KEYS[key], b"%d" % value),
            self._revised(key),
        )

    async def _compare(self) -> None:
        key, value = self._key(), next(self._values)
        expect = self._known[key]
        await self._note(
            {"kind": "put", "when": [{"key": key, "revision": expect}], "do": [{"key": key, "value": value}]},
            lambda: self._store.put(KEYS[key], b"%d" % value, expect=expect),
            self._revised(key),
        )

    async def _delete(self) -> None:
        key = self._key()
        await self._note(
            {"kind": "delete", "do": [{"key": key, "value": 0}]},
            lambda: self._store.delete(KEYS[key]),
            lambda was_there: {"deleted": was_there},
        )

    async def _transact(self) -> None:
        key, other = self._chance.sample(range(len(KEYS)), 2)
        third = self._chance.choice([one for one in range(len(KEYS)) if one not in (key, other)])
        value, expect = next(self._values), self._known[key]
        await self._note(
            {
                "kind": "transact",
                "when": [{"key": key, "revision": expect}],
                "do": [{"key": other, "value": value}, {"key": third, "value": 0}],
            },
            lambda: self._store.transact(
                [unchanged(KEYS[key], expect)], [Put(KEYS[other], b"%d" % value), Delete(KEYS[third])]
            ),
            lambda outcome: (
                self._revised(other)(outcome.revision)
                if outcome.succeeded
                else {"outcome": "refused", "items": [self._told(key, outcome.items[0])]}
            ),
        )

    def _key(self) -> int:
        return self._chance.randrange(len(KEYS))

    def _told(self, key: int, item: Item[bytes] | None) -> dict[str, int]:
        self._known[key] = 0 if item is None else item.revision
        if item is None:
            return {"value": 0, "revision": 0, "created": 0}
        return {"value": int(item.value), "revision": item.revision, "created": item.created}

    def _revised(self, key: int) -> Callable[[int], dict[str, int]]:
        def told(revision: int) -> dict[str, int]:
            self._known[key] = revision
            return {"revision": revision}

        return told

    async def _note(
        self,
        asked: dict[str, Any],
        ask: Callable[[], Awaitable[Any]],
        answer: Callable[[Any], dict[str, Any]],
    ) -> None:
        """Do an operation and note it, unless it did nothing."""
        called = time.monotonic_ns()
        told: dict[str, Any] = {"outcome": "done"}
        try:
            with fastrpc.timeout(self._patience):
                told |= answer(await ask())
        except StoreConflictError as error:
            key = asked["when"][0]["key"]
            told = {"outcome": "refused", "items": [self._told(key, error.item)]}
        except StoreError as error:
            if error.processed == "no" or asked["kind"] == "get":
                return
            told = {"outcome": "unknown"}
        # One whose outcome is unknown may act at any later instant.
        returned = 0 if told["outcome"] == "unknown" else time.monotonic_ns()
        place = {"client": self._number, "call": called, "return": returned}
        self._history.operations.append(place | asked | told)


async def run_clients(
    urls: Sequence[str],
    history: History,
    chance: random.Random,
    *,
    operations: int,
    disturb: Callable[[], Awaitable[None]],
    patience: float,
    wrap: Callable[[Store], Any],
) -> None:
    """Run a client for each URL, and disturb them one time after the other until all are through.

    Args:
        operations: of each client.
        disturb: disturbs them once.
        patience: seconds that an operation may take.
        wrap: changes the store of a client.
    """
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_store(url)) for url in urls]
        history.revision = (await stores[0].list("h/")).revision
        clients = [
            Client(number, wrap(store), history, random.Random(chance.random()), patience)
            for number, store in enumerate(stores)
        ]
        running = asyncio.gather(*(client.run(operations) for client in clients))
        try:
            while not running.done():
                await disturb()
        finally:
            # A client that failed ends the other clients.
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
        if history.is_exact:
            history.resolve(await _kept(stores[0], history.revision))


async def _kept(store: Store, first: int) -> dict[int, dict[int, int]]:
    """Return the changes after a revision, as `History.resolve` takes them."""
    found: dict[int, dict[int, int]] = {}
    end = await _end(store)
    async with store.watch("h/", after=first, every_change=True) as changes:
        async for change in changes:
            if change.revision >= end:
                return found
            if change.key in KEYS:
                value = 0 if change.item is None else int(change.item.value)
                found.setdefault(change.revision, {})[KEYS.index(change.key)] = value
    raise AssertionError("a watch has no end")


async def _end(store: Store) -> int:
    """Write after all clients, and return the revision.

    Raises:
        StoreError: of the last try, when `END_SECONDS` are over.
    """
    until = time.monotonic() + END_SECONDS
    while True:
        try:
            return await store.put("h/end", b"0")
        except StoreError:
            # The last cut of a link may still arrive.
            if time.monotonic() >= until:
                raise
        await asyncio.sleep(0.05)


@dataclass
class Faults:
    """Disturbs a server and the links of its clients at random.

    Args:
        server: a signal stops its process.
        can_restart: whether it keeps its items when it is killed.
        holders: programs that hold a lock.
        ttl: seconds of their leases: some faults last longer.
    """

    server: Any
    proxies: Sequence[FaultProxy]
    chance: random.Random
    can_restart: bool = True
    holders: Sequence[Any] = ()
    ttl: float = 0.4

    async def once(self) -> None:
        """Wait, then do one of the faults."""
        await self._pass(0.2, 0.8)
        faults = [self._stop, self._cut, self._hold, self._delay]
        faults += [self._restart, self._restart] if self.can_restart else []
        faults += [self._pause, self._pause, self._hold] if self.holders else []
        await self.chance.choice(faults)()

    async def _stop(self) -> None:
        self.server.signal(signal.SIGSTOP)
        try:
            await self._pass(0.05, 0.8)
        finally:
            self.server.signal(signal.SIGCONT)

    async def _restart(self) -> None:
        await in_thread(self.server.kill)
        await self._pass(0.0, 0.2)
        await in_thread(self.server.start)

    async def _cut(self) -> None:
        for proxy in self._some():
            proxy.reset_all()

    async def _hold(self) -> None:
        held = self._some()
        for proxy in held:
            proxy.hold()
        await self._pass(0.05, 2 * self.ttl)
        for proxy in held:
            proxy.resume()

    async def _pause(self) -> None:
        paused = [holder for holder in self.holders if self.chance.random() < 0.5]
        for holder in paused:
            holder.signal(signal.SIGSTOP)
        await self._pass(0.05, 2 * self.ttl)
        for holder in paused:
            holder.signal(signal.SIGCONT)

    async def _delay(self) -> None:
        for proxy in self._some():
            proxy.upstream.delay_seconds = self.chance.random() * 0.05
            proxy.downstream.delay_seconds = self.chance.random() * 0.05

    def _some(self) -> list[FaultProxy]:
        return [proxy for proxy in self.proxies if self.chance.random() < 0.5]

    async def _pass(self, least: float, most: float) -> None:
        await asyncio.sleep(self.chance.uniform(least, most))


async def verdict(judge: Path, history: History, folder: Path) -> str:
    """Return the word of the judge about a history: `Ok`, `Illegal` or `Unknown`."""
    path = history.write(folder / "history.json")
    found = await in_thread(
        lambda: subprocess.run([judge, path], check=True, stdout=subprocess.PIPE, text=True)
    )
    return str(found.stdout.split()[-1])
