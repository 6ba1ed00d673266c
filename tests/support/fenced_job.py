"""A program that holds a lock, or leads, again and again, and writes a table of SQLite under its token.

Its arguments: URL of the store, file of the table, `lock` or `lead`, name of the lock, seconds of its lease, number.
"""

import asyncio
import random
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from fastrpc import StoreError
from fastrpc.coordination import open_store

__all__ = ["FencedTable"]


class FencedTable:
    """A row for each lock with the highest token so far, and all attempts to write it."""

    def __init__(self, path: Path | str) -> None:
        # A process that is stopped inside a step holds up other writers, but no reader.
        self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;"
            "CREATE TABLE IF NOT EXISTS fenced (name TEXT PRIMARY KEY, fence INTEGER NOT NULL);"
            "CREATE TABLE IF NOT EXISTS attempts"
            " (number INTEGER PRIMARY KEY, name TEXT, token INTEGER, process INTEGER, accepted INTEGER)"
        )

    def close(self) -> None:
        self._connection.close()

    def write(self, name: str, token: int, process: int) -> None:
        """Write the row of a lock under a token: the table refuses one that is not the highest so far."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        execute("INSERT OR IGNORE INTO fenced VALUES (?, 0)", (name,))
        changed = execute("UPDATE fenced SET fence = ? WHERE name = ? AND fence <= ?", (token, name, token))
        attempt = (name, token, process, changed.rowcount)
        execute("INSERT INTO attempts (name, token, process, accepted) VALUES (?, ?, ?, ?)", attempt)
        execute("COMMIT")

    def attempts(self, name: str) -> Sequence[tuple[int, int, int]]:
        """Return token, process and acceptance of each attempt, in their order."""
        asked = "SELECT token, process, accepted FROM attempts WHERE name = ? ORDER BY number"
        return self._connection.execute(asked, (name,)).fetchall()

    def latest(self, name: str) -> tuple[int, int]:
        """Return token and process of the latest accepted attempt; 0 and 0 before the first one."""
        asked = "SELECT token, process FROM attempts WHERE name = ? AND accepted ORDER BY number DESC LIMIT 1"
        found: tuple[int, int] | None = self._connection.execute(asked, (name,)).fetchone()
        return found or (0, 0)


async def main(url: str, path: str, kind: str, name: str, ttl: str, process: str) -> None:
    with closing(FencedTable(path)) as table:
        async with open_store(url) as store:
            while True:
                lock = (
                    store.lock(name, ttl=float(ttl))
                    if kind == "lock"
                    else store.lead(name, "", ttl=float(ttl))
                )
                # A lock that was lost, or a store that is away.
                with suppress(StoreError):
                    async with lock:
                        for _ in range(random.randrange(20, 100)):
                            # Work that no cancellation reaches, and some that it does.
                            time.sleep(random.random() * 0.02)
                            table.write(name, lock.token, int(process))
                            await asyncio.sleep(random.random() * 0.02)
                await asyncio.sleep(random.random() * 0.02)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
