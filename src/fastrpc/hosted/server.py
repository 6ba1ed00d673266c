"""Serve one hosted service inside a program."""

from types import TracebackType
from typing import Any, ClassVar, Self

from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.handlers.auth.access_options import Authenticate
from fastrpc.hosted.rights import ServiceRights
from fastrpc.server.inherited import inherited_address, is_inherited
from fastrpc.server.server import Server

__all__ = ["HostedServer", "check_hosted", "url_of"]


class HostedServer:
    """Serves one service at one address during its `async with` block."""

    #: The scheme of the URL for clients.
    _scheme: ClassVar[str]

    def __init__(
        self,
        service: Any,
        address: str | Address,
        config: ServerConfig,
        *,
        authenticate: Authenticate | None,
        rights: ServiceRights | None,
    ) -> None:
        self._address = Address.parse(address)
        check_hosted(self._address)
        self._server = Server(service, config=config, authenticate=authenticate, authorize=rights)

    @property
    def address(self) -> Address:
        """The address of the listener. Clients use `url`."""
        return self._address

    @property
    def url(self) -> str:
        """The URL for clients, with the scheme of the service."""
        return url_of(self._scheme, self._address)

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        try:
            self._address = await self._server.listen(self._address)
        except BaseException:
            await self._server.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, traceback)

    def stats(self) -> dict[str, Any]:
        """Return the current work, like `Server.stats`."""
        return self._server.stats()

    def reload(self) -> None:
        """Read the files of tokens and rules again now. Open connections are not affected."""
        self._server.reload()

    async def close(self) -> None:
        """Stop immediately, without waiting for running calls."""
        await self._server.close()


def check_hosted(address: Address) -> None:
    """Check that clients can reach an address by a URL.

    Raises:
        ConfigError: the address is neither TCP nor TLS, or no socket of this name was passed to the process.
    """
    real = inherited_address(address, is_encrypted=False) if is_inherited(address) else address
    if real.scheme not in ("tcp", "tls"):
        raise ConfigError(
            f"{address} is neither TCP nor TLS, and a URL for clients can name only such addresses",
            hint="listen at tcp://host:port or tls://host:port",
        )


def url_of(scheme: str, address: Address) -> str:
    """Return the URL of a hosted service that listens at an address."""
    place = str(address).partition("://")[2]
    return f"{scheme}://{place}{'?tls=true' if address.scheme == 'tls' else ''}"
