"""The embedded registry inside a program: for tests, and for programs that host it."""

import os
from types import TracebackType
from typing import Any, Self

from fastrpc.config import TLS, ServerConfig
from fastrpc.coordination.registry_service import RegistryService
from fastrpc.endpoint import Address
from fastrpc.server.server import Server
from fastrpc.stores.memory import MOST_BYTES

__all__ = ["DEFAULT_REGISTRY_ADDRESS", "RegistryServer", "registry_url"]

DEFAULT_REGISTRY_ADDRESS = "tcp://127.0.0.1:8970"


class RegistryServer:
    """A registry that serves while its `async with` block lasts; `fastrpc registry` is the same as a command.

    Args:
        address: where it listens; port 0 takes a free one.
        data_dir: a folder that keeps the registrations across restarts; None keeps them in memory only.
        records_bytes: most bytes of all records, services and addresses together (128 MiB); more are refused.
        tls: certificates for an address `tls://`; with `require_client_cert` only clients that have one may ask.
    """

    def __init__(
        self,
        address: str | Address = DEFAULT_REGISTRY_ADDRESS,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        records_bytes: int = MOST_BYTES,
        tls: TLS | None = None,
    ) -> None:
        self._wanted = Address.parse(address)
        service = RegistryService(data_dir, records_bytes=records_bytes)
        self._server = Server(service, config=ServerConfig(tls=tls))
        #: The addresses it listens at; `url` is for clients.
        self.address = self._wanted

    @property
    def url(self) -> str:
        """The URL for `registry=`."""
        return registry_url(self.address)

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        try:
            self.address = await self._server.listen(self._wanted)
        except BaseException:
            await self._server.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._server.drain()

    def stats(self) -> dict[str, Any]:
        """Return the current work, like `Server.stats`."""
        return self._server.stats()

    async def close(self) -> None:
        """Stop at once, without waiting for running calls."""
        await self._server.close()


def registry_url(address: Address) -> str:
    """Return the URL of the registry that listens at an address."""
    place = str(address).partition("://")[2]
    return f"registry://{place}{'?tls=true' if address.scheme == 'tls' else ''}"
