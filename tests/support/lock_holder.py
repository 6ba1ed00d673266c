"""A program that holds a lock again and again, writes under its token, and prints its steps as lines of JSON.

Its arguments: URL of the store, file of the lines, seconds of the lease, name of a mistake or `none`.
"""

import asyncio
import json
import random
import sys
import time
from contextlib import suppress
from typing import Any, ClassVar, Self, TextIO

from fastrpc import StoreError
from fastrpc.coordination import Put, Store, locks, open_store
from fastrpc.coordination.lease import StoreLease
from fastrpc.coordination.locks import Lock
from fastrpc.stores.base import Item

__all__ = ["MISTAKES"]


class NoSecondLook(Lock):
    """A mistake: after the wait nothing is read again."""

    async def _look_after_change(
        self, ahead: list[Item[bytes]], revision: int
    ) -> tuple[list[Item[bytes]], int]:
        await super()._look_after_change(ahead, revision)
        return [], revision


class SameToken(Lock):
    """A mistake: the token of a process does not rise."""

    first: ClassVar[int] = 0

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        SameToken.first = self.token = SameToken.first or self.token
        return self


class LateLease(StoreLease):
    """A mistake: a lease that has ended is renewed."""

    def lose(self, reason: str) -> None:
        self._confirm(self._clock())
        asyncio.get_running_loop().call_soon(self.check)


class LateLock(Lock):
    """A lock with such a lease."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        locks.StoreLease = LateLease  # type: ignore[misc]
        super().__init__(*arguments, **options)


MISTAKES: dict[str, type[Lock]] = {
    "none": Lock,
    "no second look": NoSecondLook,
    "same token": SameToken,
    "late lease": LateLock,
}


class Teller:
    """Writes the operations; all processes use one clock."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def tell(self, kind: str, called: int, token: int) -> None:
        told = {
            "kind": kind,
            "call": called,
            "return": time.monotonic_ns(),
            "token": token,
            "outcome": "done",
        }
        self._file.write(json.dumps(told) + "\n")
        self._file.flush()


async def hold(store: Store, lock: Lock, teller: Teller) -> None:
    """Hold a lock once."""
    called = time.monotonic_ns()
    async with lock:
        teller.tell("hold", called, lock.token)
        for _ in range(random.randrange(5, 30)):
            called = time.monotonic_ns()
            if lock.is_held:
                teller.tell("look", called, lock.token)
            called = time.monotonic_ns()
            outcome = await store.transact([lock.held()], [Put("table/row", b"%d" % lock.token)])
            if outcome.succeeded:
                teller.tell("write", called, lock.token)
            await asyncio.sleep(random.random() * 0.05)
        called = time.monotonic_ns()
        await lock.release()
        teller.tell("release", called, lock.token)


async def main(url: str, path: str, ttl: str, mistake: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        async with open_store(url) as store:
            while True:
                # A lock that was lost, or a store that is away.
                with suppress(StoreError):
                    await hold(store, MISTAKES[mistake](store.backend, "job", ttl=float(ttl)), Teller(file))
                await asyncio.sleep(random.random() * 0.02)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
