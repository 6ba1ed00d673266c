"""The record of a server on the network of this machine, whose address appears, changes and disappears."""

import asyncio
import logging
from functools import partial
from types import TracebackType
from typing import Final, Self

from fastrpc.cancelling import cancelled
from fastrpc.endpoint import Address, Endpoint, copied
from fastrpc.registries.base.held import HeldRecord
from fastrpc.registries.base.registry import Registry
from fastrpc.registries.lan.multicast import own_hosts

__all__ = ["NetworkRecord"]

logger = logging.getLogger("fastrpc.registry")

#: Seconds between two checks of the addresses of this machine. Too low costs system calls, too high leaves a server
#: unlisted for longer once a network is there.
_LOOK_SECONDS: Final = 2.0


class NetworkRecord:
    """A registration under the current address of this machine, and under the new address after a change.

    Args:
        endpoint: the server's endpoint; its port is used with each address.
    """

    def __init__(self, registry: Registry, service: str, endpoint: Endpoint) -> None:
        self._registry = registry
        self._service = service
        self._endpoint = endpoint
        # `_host`: the host that is registered. `_held`: its record.
        self._host: str | None = None
        self._held: HeldRecord | None = None
        # Held while the record is changed.
        self._changing = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None
        # Whether the failure to register the current address was logged.
        self._is_told = False

    async def __aenter__(self) -> Self:
        await self._look()
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()
        await self._leave()

    @property
    def is_registered(self) -> bool:
        """Whether the registry has the record, as far as is known; True without a network."""
        return self._held is None or self._held.is_registered

    async def change(self, endpoint: Endpoint) -> None:
        """Register another endpoint of the same server, now and under later addresses of this machine.

        Raises:
            ConfigError: the registry cannot hold it.
            StoreError: the registry refuses it. After either error the registry may still have the previous record.
        """
        async with self._changing:
            self._endpoint = endpoint
            if self._held is not None and self._host is not None:
                await self._held.change(self._at(self._host))

    async def retire(self) -> bool:
        """Mark the server in the record as draining; return whether the registry has such a mark."""
        await self._stop()
        return self._held is not None and await self._held.retire()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                async with self._changing:
                    await self._look()
            except Exception:
                # Most likely the record is too long; with the next address it may be shorter.
                if not self._is_told:
                    self._is_told = True
                    logger.exception("%s: the server cannot be listed on the network", self._service)

    async def _look(self) -> None:
        """Register the current address in place of the previous one."""
        hosts = own_hosts()
        if self._host in hosts or (self._host is None and not hosts):
            return
        await self._leave()
        if not hosts:
            logger.warning("%s: this machine has no network any more", self._service)
            return
        endpoint = self._at(hosts[0])
        held = HeldRecord(partial(self._registry.register, self._service), endpoint)
        await held.enter()
        self._held, self._host = held, hosts[0]
        self._is_told = False
        if self._following is not None:
            logger.info("%s: listed on the network at %s", self._service, endpoint)

    def _at(self, host: str) -> Endpoint:
        """Return the endpoint at an address of this machine."""
        address = Address("tls", host=host, port=self._endpoint.address.port)
        return copied(self._endpoint, address=address)

    async def _leave(self) -> None:
        held, self._held, self._host = self._held, None, None
        if held is not None:
            await held.leave()

    async def _stop(self) -> None:
        if self._following is not None:
            await cancelled([self._following])
