"""A port with only the HTTP API of Deimos, in addition to the port of a store service."""

from types import TracebackType
from typing import Final, Self

from fastrpc.config import HTTP, TLS, ServerConfig
from fastrpc.coordination.deimos.application import deimos_app
from fastrpc.coordination.remote.service import StoreService
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.handlers.auth.access_options import Authenticate
from fastrpc.server.server import Server

__all__ = ["DeimosPort", "address_of"]

#: The address scheme of each URL scheme.
_SCHEMES: Final = {"http": "tcp", "https": "tls"}


class DeimosPort:
    """Serves the keys of a store during its `async with` block. The service has to be entered before.

    Args:
        address: `http://host:port`, or `https://` with certificates; port 0 chooses a free one.
        authenticate: identifies callers. Each request then needs `Authorization`, which clients of Deimos never send.

    Raises:
        ConfigError: the address has another form.
    """

    def __init__(
        self,
        service: StoreService,
        address: str,
        tls: TLS | None = None,
        authenticate: Authenticate | None = None,
    ) -> None:
        self._wanted = address_of(address)
        self._scheme = address.partition(":")[0].lower()
        http = HTTP(
            json=False,
            docs=False,
            mounts={"/": deimos_app(service)},
            mount_authenticated=None if authenticate is None else True,
        )
        config = ServerConfig(protocols=("http",), http=http, tls=tls)
        self._server = Server(config=config, authenticate=authenticate)
        #: The bound address; before the port listens, the requested address.
        self.address = self._wanted

    @property
    def url(self) -> str:
        """The URL for clients of Deimos."""
        return f"{self._scheme}://{str(self.address).partition('://')[2]}"

    def reload(self) -> None:
        """Read the certificate files again now. Open connections are not affected."""
        self._server.reload()

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
        await self._server.__aexit__(kind, error, traceback)


def address_of(url: str) -> Address:
    """Return the address to listen at for an HTTP URL.

    Raises:
        ConfigError: the URL has another form.
    """
    scheme, _, place = url.partition("://")
    if scheme.lower() not in _SCHEMES:
        raise ConfigError(f"{url} is not an address of HTTP", hint="write http://host:port, or https://")
    return Address.parse(f"{_SCHEMES[scheme.lower()]}://{place.rstrip('/')}")
