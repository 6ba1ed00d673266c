"""The broker in a folder of one process, `sqlite:///folder`: a file of SQLite, and all that is delivered in memory.

tables    the schema
rows      messages and dead letters as bytes, with their sums
writing   changes as rows
reading   rows as the broker goes on with them
journal   commits, without room as well
copying   a copy of all that is readable
"""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Final, cast

from fastrpc.brokers.base import BrokerBackend, BrokerLimits
from fastrpc.brokers.embedded import EmbeddedBroker, utc_now
from fastrpc.brokers.sqlite.journal import SqliteBrokerJournal
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.registries.base.urls import RegistryURL, one_of
from fastrpc.stores.sqlite.folder import Sync

__all__ = ["SqliteBrokerJournal", "open_sqlite", "sqlite_broker"]

_LIMITS: Final = BrokerLimits("sqlite", finds_repeats=True)


def sqlite_broker(
    folder: Path,
    *,
    sync: Sync = "full",
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], datetime] = utc_now,
    on_failed: Callable[[BrokerError], None] = lambda error: None,
) -> EmbeddedBroker:
    """Return the broker of a folder, to be entered.

    Args:
        folder: made if it is missing, with the mode 0700. Others must not be able to enter it.
        sync: "full" keeps commits across a power loss, "normal" across the end of the process only.
        clock: returns an instant in seconds that never decreases.
        wall: returns the time of day, in UTC.
        on_failed: called with the error of the commit that ended the broker.

    Raises:
        ConfigError: `sync` is unknown, or SQLite is older than 3.35.
    """
    journal = SqliteBrokerJournal(folder, sync=sync, clock=clock, wall=lambda: wall().timestamp())
    return EmbeddedBroker(_LIMITS, journal, clock=clock, wall=wall, on_failed=on_failed)


def open_sqlite(url: RegistryURL) -> AbstractAsyncContextManager[BrokerBackend]:
    """Return the broker in a folder, `sqlite:///folder`; the option `sync` is `full` or `normal`.

    Raises:
        ConfigError: the URL has no absolute path, or an unknown option.
    """
    if url.place or not url.path:
        raise ConfigError(f"{url} has no absolute path of a folder", hint="write sqlite:///var/lib/name")
    sync = cast(Sync, url.take("sync", "full", one_of("full", "normal")))
    url.refuse_unread()
    url.refuse_tls()
    return sqlite_broker(Path("/", url.path), sync=sync)
