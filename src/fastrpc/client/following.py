"""Follows what a registry says of a service, on the loop of a client."""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fastrpc.client.target import Target
from fastrpc.endpoint import Endpoint

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import Registry
    from fastrpc.registries.base.watch import Watch

__all__ = ["Follower"]

logger = logging.getLogger("fastrpc.client")


class Follower:
    """Takes each list of a registry to a pool. The lists come in the registry's own thread."""

    def __init__(self, target: Target, on_list: Callable[[Sequence[Endpoint]], None]) -> None:
        assert target.registry is not None
        self._registry: Registry = target.registry
        self._owns_registry = target.owns_registry
        self._service = target.service
        self._on_list = on_list
        self._watch: Watch | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the list that is there, if there is one, and every later one."""
        self._watch = self._registry.watch(self._service)
        if self._watch.latest is not None:
            self._take(self._watch.latest.endpoints)
        self._task = loop.create_task(
            self._follow(self._watch), name=f"fastrpc watch of {self._service}", context=contextvars.Context()
        )

    async def _follow(self, watch: "Watch") -> None:
        try:
            async for snapshot in watch:
                self._take(snapshot.endpoints)
        except Exception as error:
            # One of the user's own: ours go on asking, and say what is wrong beside the last list.
            self._failure = error
            logger.exception("%s: the registry cannot be followed any more", self._service)
        finally:
            watch.close()

    def _take(self, endpoints: Sequence[Endpoint]) -> None:
        try:
            self._on_list(endpoints)
        except Exception:
            # Filters and selectors of the user's run in there: calls raise it until they take the list.
            logger.exception("%s: the selector cannot take the endpoints", self._service)

    @property
    def error(self) -> Exception | None:
        """Why the registry could not be asked last time; None when it could."""
        if self._failure is not None:
            return self._failure
        return None if self._watch is None else getattr(self._watch, "error", None)

    def stop(self) -> None:
        """Follow no more; the loop may be closed already."""
        if self._watch is not None:
            self._watch.close()

    async def close(self) -> None:
        """Follow no more, and let go of a registry that was opened for this client."""
        self.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._owns_registry:
            await self._registry.aclose()
