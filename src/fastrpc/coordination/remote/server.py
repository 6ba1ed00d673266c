"""A store inside a program: for tests, and for programs that host it."""

import os
from typing import Literal

from fastrpc.auth.policy import Policy
from fastrpc.config import TLS
from fastrpc.coordination.remote.service import StoreService, store_config
from fastrpc.endpoint import Address
from fastrpc.handlers.auth.access_options import Authenticate
from fastrpc.hosted.rights import rights_of
from fastrpc.hosted.server import HostedServer

__all__ = ["DEFAULT_STORE_ADDRESS", "StoreServer"]

DEFAULT_STORE_ADDRESS = "tcp://127.0.0.1:8969"


class StoreServer(HostedServer):
    """A store that serves during its `async with` block. The command `fastrpc store` does the same.

    Args:
        address: the address to listen at; port 0 chooses a free one.
        data_dir: a folder that keeps the items across restarts; None keeps them in memory only.
        sync: "full" keeps items across a power loss, "normal" only across the end of the process.
        tls: certificates for an address `tls://`; with `require_client_cert` only clients with a certificate may call.
        authenticate: identifies callers, see `Server`; without it every client that can connect may read and write.
        policy: the rules; their keys `read_keys` and `write_keys` grant these rights. Without a policy every identity
            has both.

    Raises:
        ConfigError: the address is neither TCP nor TLS, there is a policy without `authenticate`, or an argument is
            invalid.
    """

    _scheme = "store"

    def __init__(
        self,
        address: str | Address = DEFAULT_STORE_ADDRESS,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        sync: Literal["full", "normal"] = "full",
        tls: TLS | None = None,
        authenticate: Authenticate | None = None,
        policy: Policy | None = None,
    ) -> None:
        rights = rights_of(authenticate, policy, command="store")
        service = StoreService(data_dir, sync=sync, rights=rights)
        super().__init__(service, address, store_config(tls), authenticate=authenticate, rights=rights)
