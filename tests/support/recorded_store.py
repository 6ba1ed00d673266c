"""A program that writes a store in a folder and notes each acknowledged write in the log of `recorded_io.c`.

Eight tasks write one after the other; `step_of` returns the step of each task at each of its numbers.
"""

import asyncio
import json
import os
import sys
from typing import Final

from fastrpc.stores.base import Deletion, Saved, Write
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal, checkpoints
from tests.support.crash_states import note

__all__ = ["TASKS", "number_in", "step_of"]

TASKS: Final = 8


def step_of(number: int) -> str:
    """Return the step of a task at a number: `put` its key, `delete` it, or put it with its `pair` in a transaction."""
    return {3: "pair", 5: "delete"}.get(number % 7, "put")


def number_in(value: bytes) -> int:
    """Return the number of the write of a value."""
    return int(value.split()[0])


class UnsyncedJournal(SqliteJournal):
    """A mistake: commits are not synced."""

    def open(self) -> Saved:
        saved = super().open()
        self.folder.connection.execute("PRAGMA synchronous = NORMAL")
        return saved


async def write(store: LocalStore, log: int, task: int, numbers: range) -> None:
    key, lease = f"k/{task}", await store.lease(60.0)
    note(log, json.dumps({"lease": lease}).encode())
    for number in numbers:
        step = step_of(number)
        value = b"%d " % number + os.urandom(200 + number % 5 * 700)
        if step == "put":
            revision = await store.put(key, value, lease=lease if number % 2 else None)
        elif step == "delete":
            await store.delete(key)
            revision = 0
        else:
            pair = f"pair/{task}"
            revision = (
                await store.transact([], [Write(key, value), Deletion("none"), Write(pair, value)])
            ).revision
        note(log, json.dumps({"task": task, "number": number, "revision": revision}).encode())


async def main(folder: str, log: str, sync: str, first: int, writes: int) -> None:
    """Run all tasks; `sync` is the journal's `sync`, or `unsynced`."""
    journal = UnsyncedJournal(folder) if sync == "unsynced" else SqliteJournal(folder, sync=sync)  # type: ignore[arg-type]
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with LocalStore(journal) as store:
        numbers = range(first, first + writes)
        await asyncio.gather(*(write(store, descriptor, task, numbers) for task in range(TASKS)))


if __name__ == "__main__":
    # Several checkpoints, during commits and between them.
    checkpoints._LOG_BYTES = 32 * 1024  # type: ignore[misc]
    asyncio.run(main(*sys.argv[1:4], *map(int, sys.argv[4:])))
