"""The watch of a service in a registry, on the loop of a client."""

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from fastrpc.cancelling import cancelled
from fastrpc.client.target import Target
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError
from fastrpc.user_code import contained

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import Registry
    from fastrpc.registries.base.snapshot import Snapshot

__all__ = ["Follower"]

logger = logging.getLogger("fastrpc.client")


class Follower:
    """Passes each list of a registry to a pool.

    In addition to the required interface, the watches of fastrpc have the latest list and the registry's last error.
    """

    def __init__(self, target: Target, on_list: Callable[[Sequence[Endpoint]], None]) -> None:
        assert target.registry is not None
        self._registry: Registry = target.registry
        self._owns_registry = target.owns_registry
        self._service = target.service
        self._target = target
        self._on_list = on_list
        self._watch: AsyncIterator[Snapshot] | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    def open(self) -> None:
        """Open a watch of the registry.

        Raises:
            Exception: the registry refuses, for example because it is closed.
        """
        watch = self._registry.watch(self._service)
        if not hasattr(watch, "__aiter__"):
            raise ConfigError(
                f"{type(self._registry).__name__}.watch returned {watch!r}, which cannot be iterated",
                hint="return an async iterator of snapshots, or write it as an async generator",
            )
        self._watch = watch

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the latest list, if there is one, and every later list."""
        watch = self._watch
        assert watch is not None
        latest = getattr(watch, "latest", None)
        if latest is not None:
            self._take(latest.endpoints)
        self._task = loop.create_task(
            self._follow(watch), name=f"fastrpc watch of {self._service}", context=contextvars.Context()
        )

    async def _follow(self, watch: "AsyncIterator[Snapshot]") -> None:
        try:
            with contained("the watch of a registry"):
                async for snapshot in watch:
                    self._take(snapshot.endpoints)
        except Exception as error:
            # fastrpc's own watches do not raise; the failure of a user-defined watch must not end the calls.
            self._error = error
            logger.exception("%s: the watch failed, the last list stays", self._service)
        finally:
            if hasattr(watch, "close"):
                watch.close()
            elif hasattr(watch, "aclose"):
                await watch.aclose()

    def _take(self, endpoints: Sequence[Endpoint]) -> None:
        try:
            self._target.check_list(endpoints)
        except ConfigError as error:
            self._error = error
            logger.error("%s: the last list stays: %s", self._service, error)
            return
        self._error = None
        try:
            self._on_list(endpoints)
        except Exception:
            # The pool runs user-defined filters and selectors. Calls raise their error until they accept the list.
            logger.exception("%s: the selector cannot take the endpoints", self._service)

    @property
    def error(self) -> Exception | None:
        """The registry's last error; None after a success."""
        return self._error or getattr(self._watch, "error", None)

    def stop(self) -> None:
        """Stop the watch; the loop may be closed already."""
        close = getattr(self._watch, "close", None)
        if close is not None:
            close()

    def rest(self) -> None:
        """Stop the watch until `open` and `start` follow again."""
        self.stop()
        if self._task is not None:
            self._task.cancel()
        self._watch = self._task = self._error = None

    async def close(self) -> None:
        """Stop the watch, and close a registry that was opened for this client."""
        self.stop()
        if self._task is not None:
            await cancelled([self._task])
        if self._owns_registry:
            await self._registry.aclose()
