"""The broker in a folder, `sqlite:///folder`, for one process. A file of SQLite keeps the messages.

tables    the schema
rows      encode and decode messages and dead letters, with checksums
writing   write changes as rows
reading   load the state of a broker
journal   commits, and what happens if the disk is full
copying   copy everything that is readable
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
    """Return the broker of a folder, for one `async with`.

    Args:
        folder: the folder; it is created if it is missing, with mode 0700. Other users must not have access to it.
        sync: "full" keeps commits across a power loss, "normal" only across the end of the process.
        clock: returns an instant in seconds that never decreases.
        wall: returns the time of day, in UTC.
        on_failed: called with the error of the commit that stopped the broker.

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
