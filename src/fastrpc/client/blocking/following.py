"""The watch of a service in a registry, for threads."""

import logging
from typing import TYPE_CHECKING, cast

from fastrpc.client.target import Target
from fastrpc.errors import ConfigError

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import Registry
    from fastrpc.registries.base.snapshot import Snapshot
    from fastrpc.registries.base.watch import Watch

__all__ = ["SyncFollower"]

logger = logging.getLogger("fastrpc.client")


class SyncFollower:
    """Watches a service for one pool, and stores the list that the pool took last. The first call opens the watch."""

    def __init__(self, target: Target, registry: "Registry") -> None:
        self._registry = registry
        self._target = target
        self._owns_registry = target.owns_registry
        self._service = target.service
        self._watch: Watch | None = None
        self._taken: Snapshot | None = None
        # `_refused`: the latest list, if it has an item that is not an endpoint. `_error`: the error for that item.
        self._refused: Snapshot | None = None
        self._error: ConfigError | None = None

    def open(self) -> None:
        """Open the watch, once.

        Raises:
            ConfigError: the registry has no watches for threads.
            Exception: the registry refuses, for example because it is closed.
        """
        if self._watch is not None:
            return
        watch = self._registry.watch(self._service)
        if not hasattr(watch, "latest") or not hasattr(watch, "wait"):
            raise ConfigError(
                f"{type(self._registry).__name__} cannot be watched without an event loop",
                hint="its watches need latest and wait(timeout), as a fastrpc.registries.Watch has them",
            )
        self._watch = cast("Watch", watch)

    @property
    def is_open(self) -> bool:
        """Whether the watch was opened."""
        return self._watch is not None

    @property
    def has_list(self) -> bool:
        """Whether the pool took a list."""
        return self._taken is not None

    @property
    def has_news(self) -> bool:
        """Whether the watch has a list that was neither taken nor refused. Also true before the watch is opened."""
        return self._watch is None or self._is_new(self._watch.latest)

    def _is_new(self, latest: "Snapshot | None") -> bool:
        return latest is not None and latest is not self._taken and latest is not self._refused

    def look(self) -> "Snapshot | None":
        """Return the latest list unless the pool has taken it; refuse a list with an item that is not an endpoint."""
        latest = None if self._watch is None else self._watch.latest
        if latest is None or not self._is_new(latest):
            return None
        try:
            self._target.check_list(latest.endpoints)
        except ConfigError as error:
            self._refused, self._error = latest, error
            logger.error("%s: the last list stays: %s", self._service, error)
            return None
        self._refused = self._error = None
        return latest

    def note_taken(self, snapshot: "Snapshot") -> None:
        """Record that the pool has this list."""
        self._taken = snapshot

    @property
    def error(self) -> Exception | None:
        """The registry's last error; None after a success."""
        return self._error or getattr(self._watch, "error", None)

    def wait(self, timeout: float) -> None:
        """Wait for a new list, at most `timeout` seconds; after `rest` return immediately."""
        watch = self._watch
        if watch is not None:
            watch.wait(timeout)

    def rest(self) -> None:
        """Stop the watch until the next `open`."""
        watch = self._watch
        self._watch = self._taken = self._refused = self._error = None
        if watch is not None:
            watch.close()

    def close(self) -> None:
        """Stop the watch, and close a registry that was opened for this client."""
        self.rest()
        if self._owns_registry:
            self._registry.close()
