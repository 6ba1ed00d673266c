"""Bare SQLite in a separate process: `python -m bench.messages.row FOLDER SYNC SECONDS`.

The program prints the seconds of one row as JSON: 1 KiB under a rising number, 64 rows a commit, in WAL mode.
"""

import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from bench.beside.in_flight import IN_FLIGHT
from bench.messages.record import BODY

__all__ = ["row"]


def row(folder: Path, sync: str, seconds: float) -> float:
    """Return the time of one row."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(folder / "rows.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={sync.upper()}")
        connection.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, topic TEXT, body BLOB) STRICT")
        number, started = 0, time.perf_counter()
        while (now := time.perf_counter()) < started + seconds or not number:
            rows = [(number + beside, "orders.new", BODY) for beside in range(IN_FLIGHT)]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO rows VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
            number += IN_FLIGHT
        return (now - started) / number


if __name__ == "__main__":
    print(json.dumps({"seconds": row(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))}), flush=True)
