"""A rollback journal of SQLite as a power cut leaves it."""

import shutil
import sqlite3
from pathlib import Path

__all__ = ["journal_of_switch"]


def journal_of_switch(path: Path, scratch: Path) -> bytes:
    """Return the rollback journal of a file's switch to a log, as it is before SQLite removes it."""
    shutil.copyfile(path, scratch)
    connection = sqlite3.connect(scratch, isolation_level=None)
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        assert mode == "delete"
        # The journal is whole at once.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.execute("PRAGMA user_version = 77")
        return Path(f"{scratch}-journal").read_bytes()
    finally:
        connection.close()
