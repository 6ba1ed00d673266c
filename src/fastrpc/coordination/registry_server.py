"""The embedded registry inside a program: for tests, and for programs that host it."""

import os
from types import TracebackType
from typing import Any, Self

from fastrpc.auth.policy import Policy
from fastrpc.config import TLS, ServerConfig
from fastrpc.coordination.registry_service import RegistryService
from fastrpc.coordination.rights import RegistryRights
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.handlers.auth.access_options import Authenticate
from fastrpc.server.server import Server
from fastrpc.stores.memory import MOST_BYTES

__all__ = ["DEFAULT_REGISTRY_ADDRESS", "RegistryServer", "registry_rights", "registry_url"]

DEFAULT_REGISTRY_ADDRESS = "tcp://127.0.0.1:8970"


class RegistryServer:
    """A registry that serves while its `async with` block lasts; `fastrpc registry` is the same as a command.

    Args:
        address: where it listens; port 0 takes a free one.
        data_dir: a folder that keeps the registrations across restarts; None keeps them in memory only.
        records_bytes: most bytes of all records, services and addresses together (128 MiB); more are refused.
        tls: certificates for an address `tls://`; with `require_client_cert` only clients that have one may ask.
        authenticate: identifies callers, see `Server`; without it every client that can connect may register and read.
        policy: the rules, whose keys `register` and `read` grant these rights; without it every identity has them.

    Raises:
        ConfigError: the policy comes without `authenticate`, or cannot be used.
    """

    def __init__(
        self,
        address: str | Address = DEFAULT_REGISTRY_ADDRESS,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        records_bytes: int = MOST_BYTES,
        tls: TLS | None = None,
        authenticate: Authenticate | None = None,
        policy: Policy | None = None,
    ) -> None:
        self._wanted = Address.parse(address)
        rights = registry_rights(authenticate, policy)
        self._server = Server(
            RegistryService(data_dir, records_bytes=records_bytes, rights=rights),
            config=ServerConfig(tls=tls),
            authenticate=authenticate,
            authorize=rights,
        )
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
        await self._server.__aexit__(kind, error, traceback)

    def stats(self) -> dict[str, Any]:
        """Return the current work, like `Server.stats`."""
        return self._server.stats()

    def reload(self) -> None:
        """Read the files of tokens and rules again now; open connections stay."""
        self._server.reload()

    async def close(self) -> None:
        """Stop at once, without waiting for running calls."""
        await self._server.close()


def registry_rights(authenticate: Authenticate | None, policy: Policy | None) -> RegistryRights | None:
    """Return the guard of the callers' rights; None where every caller has all of them.

    Raises:
        ConfigError: the policy comes without `authenticate`, or cannot be used.
    """
    if policy is None:
        return None
    if not isinstance(policy, Policy):
        raise ConfigError(
            f"policy is a {type(policy).__name__}, it must be a Policy", hint="write Policy.from_file(…)"
        )
    if authenticate is None:
        raise ConfigError(
            "policy is given without authenticate: no caller would have a right",
            hint="write authenticate=StaticTokens.from_file(…); fastrpc registry takes --tokens FILE",
        )
    return RegistryRights(policy)


def registry_url(address: Address) -> str:
    """Return the URL of the registry that listens at an address."""
    place = str(address).partition("://")[2]
    return f"registry://{place}{'?tls=true' if address.scheme == 'tls' else ''}"
