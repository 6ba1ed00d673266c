"""Registry objects for a block of a test, and the lists that their watches show."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastrpc import Endpoint
from fastrpc.registries import open_registry
from fastrpc.registries.base.watch import Watch

__all__ = ["opened", "shown"]


@contextlib.asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Any]:
    """Open a registry by its URL for the block."""
    registry = open_registry(url, **options)
    async with registry:  # type: ignore[attr-defined]
        yield registry


async def shown(watch: Watch, *endpoints: Endpoint) -> None:
    """Return once a watch shows these endpoints."""
    async with asyncio.timeout(20):
        while watch.latest is None or set(watch.latest.endpoints) != set(endpoints):
            await anext(watch)
