"""A registry that lets a record leave only when the test does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastrpc.endpoint import Endpoint
from fastrpc.registries import StaticRegistry

__all__ = ["HeldRegistry"]


class HeldRegistry(StaticRegistry):
    """Tells when a record is to leave, when it has left, and whether it was closed itself."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = asyncio.Event()
        self.may_leave = asyncio.Event()
        self.has_left = asyncio.Event()
        self.is_closed = False

    def register(self, service: str, endpoint: Endpoint) -> Any:
        return self._registered()

    @contextlib.asynccontextmanager
    async def _registered(self) -> AsyncIterator[None]:
        yield
        self.is_asked.set()
        await self.may_leave.wait()
        self.has_left.set()

    async def aclose(self) -> None:
        self.is_closed = True
