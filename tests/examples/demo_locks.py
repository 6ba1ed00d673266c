"""A lock whose holder is stopped, and a table that refuses the write with which it wakes up.

As a program with `STORE TABLE` it is the holder, without arguments it shows all.
"""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from demo_process import Process, check, say

import fastrpc
from fastrpc.coordination import open_store

__all__ = ["show_locks"]

#: Seconds after which a stopped holder has lost its lock.
TTL_SECONDS = 1.0


def save(table: str, text: str, fence: int) -> bool:
    """Write unless a later holder has written; return whether it was written."""
    with closing(sqlite3.connect(table)) as database, database:
        changed = database.execute(
            "UPDATE report SET text = ?, fence = ? WHERE fence <= ?", (text, fence, fence)
        )
        return changed.rowcount == 1


async def hold(url: str, table: str) -> None:
    """Hold the lock, and stand still in the middle of a write."""
    async with open_store(url) as store:
        try:
            async with store.lock("report", ttl=TTL_SECONDS, value="the first holder") as lock:
                print(lock.token, flush=True)
                # The loop stands still as it does on a slow disk; meanwhile the process is stopped.
                sys.stdin.readline()
                print(save(table, "by the first", lock.token), flush=True)
                await asyncio.sleep(60)
        except fastrpc.LockLostError as error:
            print(error.message, flush=True)


async def show_locks() -> None:
    """Stop a holder, hold its lock, and let it wake up."""
    say("A lock and its token: fastrpc store; a holder is stopped (SIGSTOP) in the middle of a write")
    with tempfile.TemporaryDirectory() as folder:
        table = str(Path(folder, "table.db"))
        with closing(sqlite3.connect(table)) as database, database:
            database.execute("CREATE TABLE report (text, fence)")
            database.execute("INSERT INTO report VALUES ('', 0)")
        server = Process("store", "--address", "tcp://127.0.0.1:0", "--data-dir", folder)
        try:
            await _show(await asyncio.to_thread(server.wait_started, "urls"), table)
        finally:
            await asyncio.to_thread(server.stop)


async def _show(url: str, table: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, __file__, url, table], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        token = int(await asyncio.to_thread(holder.stdout.readline))
        holder.send_signal(signal.SIGSTOP)
        async with open_store(url) as store, store.lock("report", value="the second") as lock:
            check(lock.token > token, f"the next one holds after {TTL_SECONDS:g} s, its token is larger")
            check(save(table, "by the second", lock.token), "it writes: UPDATE … WHERE fence <= token")
            holder.send_signal(signal.SIGCONT)
            holder.stdin.write("\n")
            holder.stdin.flush()
            wrote = (await asyncio.to_thread(holder.stdout.readline)).strip()
            check(wrote == "False", "the first wakes up and writes: its token is refused")
            said = (await asyncio.to_thread(holder.stdout.readline)).strip()
            check("locks/report was lost" in said, f"at its next await it is cancelled: {said}")
    finally:
        holder.kill()
        holder.wait()


if __name__ == "__main__":
    asyncio.run(hold(*sys.argv[1:]) if sys.argv[1:] else show_locks())
