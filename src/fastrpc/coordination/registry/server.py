"""The embedded registry inside a program: for tests, and for programs that host it."""

import os

from fastrpc.auth.policy import Policy
from fastrpc.config import TLS, ServerConfig
from fastrpc.coordination.registry.service import RegistryService
from fastrpc.endpoint import Address
from fastrpc.handlers.auth.access_options import Authenticate
from fastrpc.hosted.rights import rights_of
from fastrpc.hosted.server import HostedServer
from fastrpc.stores.memory import MOST_BYTES

__all__ = ["DEFAULT_REGISTRY_ADDRESS", "RegistryServer"]

DEFAULT_REGISTRY_ADDRESS = "tcp://127.0.0.1:8970"


class RegistryServer(HostedServer):
    """A registry that serves during its `async with` block. The command `fastrpc registry` does the same.

    Args:
        address: the address to listen at; port 0 chooses a free one.
        data_dir: a folder that keeps the registrations across restarts; None keeps them in memory only.
        records_bytes: the most bytes of all records, services and addresses together (128 MiB); more are refused.
        tls: certificates for an address `tls://`; with `require_client_cert` only clients with a certificate may call.
        authenticate: identifies callers, see `Server`; without it every client that can connect may register and read.
        policy: the rules; their keys `register` and `read` grant these rights. Without a policy every identity has
            both.

    Raises:
        ConfigError: the address is neither TCP nor TLS, there is a policy without `authenticate`, or an argument is
            invalid.
    """

    _scheme = "registry"

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
        rights = rights_of(authenticate, policy, command="registry")
        service = RegistryService(data_dir, records_bytes=records_bytes, rights=rights)
        super().__init__(service, address, ServerConfig(tls=tls), authenticate=authenticate, rights=rights)
