"""The record of a server on the network of this machine, whose address comes, changes and goes."""

import asyncio
import logging
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self

from fastrpc.endpoint import Address, Endpoint, copied
from fastrpc.registries.base.registry import Registry
from fastrpc.registries.lan.multicast import own_hosts

__all__ = ["NetworkRecord"]

logger = logging.getLogger("fastrpc.registry")

#: Seconds between two looks at the addresses of this machine. Too low costs system calls, too high leaves a server
#: unlisted for longer once a network is there.
_LOOK_SECONDS: Final = 2.0


class NetworkRecord:
    """A registration under the present address of this machine, and under a new one after a change.

    Args:
        endpoint: its port is the server's.
    """

    def __init__(self, registry: Registry, service: str, endpoint: Endpoint) -> None:
        self._registry = registry
        self._service = service
        self._endpoint = endpoint
        # The host that is registered, and its registration.
        self._host: str | None = None
        self._held = AsyncExitStack()
        self._entered: Any = None
        self._following: asyncio.Task[None] | None = None
        # Whether the failure of the present address is logged.
        self._is_told = False

    async def __aenter__(self) -> Self:
        await self._look()
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()
        await self._held.aclose()

    @property
    def is_registered(self) -> bool:
        """Whether the registry has the record, as far as is known; True without a network."""
        return bool(getattr(self._entered, "is_registered", True))

    async def retire(self) -> bool:
        """Mark the server in the record as leaving; return whether the registry has such a mark."""
        await self._stop()
        retire = getattr(self._entered, "retire", None)
        return retire is not None and bool(await retire())

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._look()
            except Exception:
                # Above all a record that is too long; the next address may be shorter.
                if not self._is_told:
                    self._is_told = True
                    logger.exception("%s: the server cannot be listed on the network", self._service)

    async def _look(self) -> None:
        """Register the present address in place of the one before."""
        hosts = own_hosts()
        if self._host in hosts or (self._host is None and not hosts):
            return
        await self._held.aclose()
        self._host = self._entered = None
        if not hosts:
            logger.warning("%s: this machine has no network any more", self._service)
            return
        address = Address("tls", host=hosts[0], port=self._endpoint.address.port)
        registration = self._registry.register(self._service, copied(self._endpoint, address=address))
        self._entered = await self._held.enter_async_context(registration)
        self._is_told = False
        if self._following is not None:
            logger.info("%s: listed on the network at %s", self._service, address)
        self._host = hosts[0]

    async def _stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
