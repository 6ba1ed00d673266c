"""The broker in memory, `memory://name`. A process has one per name, which is shared until its last user closes it."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final

from fastrpc.brokers.base import BrokerBackend, BrokerLimits
from fastrpc.brokers.embedded import EmbeddedBroker, utc_now
from fastrpc.errors import ConfigError
from fastrpc.hosted.backend_urls import NamedBackends
from fastrpc.registries.base.urls import RegistryURL

__all__ = ["MemoryBroker", "open_memory"]


class MemoryBroker(EmbeddedBroker):
    """A broker that keeps messages only in the memory of this process, for one event loop.

    Args:
        clock: returns an instant in seconds that never decreases. If it does not follow the loop's time, call
            `catch_up` each time it advances.
        wall: returns the time of day, in UTC.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], datetime] = utc_now
    ) -> None:
        super().__init__(BrokerLimits("memory", finds_repeats=True), clock=clock, wall=wall)


_NAMED: Final = NamedBackends[BrokerBackend]("broker", MemoryBroker)


def open_memory(url: RegistryURL) -> AbstractAsyncContextManager[BrokerBackend]:
    """Return the broker `memory://name`, for one `async with`.

    Raises:
        ConfigError: the URL has no name, a path or an option.
    """
    for sync in url.take_all("sync"):
        raise ConfigError(
            f"{url} keeps nothing on a disk, so sync={sync} is refused", hint="leave the option sync out"
        )
    return _NAMED.open(url)
