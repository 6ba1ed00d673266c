"""The interface of all registries."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from fastrpc.endpoint import Endpoint
from fastrpc.registries.base.watch import Watch

__all__ = ["Registry"]


class Registry(Protocol):
    """Says which endpoints serve a name.

    Making one does no I/O. Whatever is given for a network, it follows the rules of `fastrpc.registries.base`: a
    registry that is away changes nothing, a list that looks wrong is looked at again, and addresses are checked.
    """

    def register(self, service: str, endpoint: Endpoint) -> AbstractAsyncContextManager[Any]:
        """Return what keeps an endpoint in the list of a service while its block lasts.

        Raises:
            ConfigError: this registry cannot hold it.
        """

    def watch(self, service: str) -> Watch:
        """Follow who serves a service: `async for snapshot in watch`, or `watch.wait()` without a loop."""

    def close(self) -> None:
        """End all watches and registrations, blocking while the registry is told."""

    async def aclose(self) -> None:
        """Do the same without blocking the loop."""
