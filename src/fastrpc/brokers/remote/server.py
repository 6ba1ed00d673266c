"""A broker inside a program: for tests, and for programs that host it."""

import os
from typing import Literal

from fastrpc.auth.policy import Policy
from fastrpc.brokers.remote.service import BrokerService, broker_config
from fastrpc.config import TLS
from fastrpc.endpoint import Address
from fastrpc.handlers.auth.access_options import Authenticate
from fastrpc.hosted.rights import rights_of
from fastrpc.hosted.server import HostedServer

__all__ = ["DEFAULT_BROKER_ADDRESS", "BrokerServer"]

DEFAULT_BROKER_ADDRESS = "tcp://127.0.0.1:8971"


class BrokerServer(HostedServer):
    """A broker that serves during its `async with` block. The command `fastrpc broker` does the same.

    Args:
        address: the address to listen at; port 0 chooses a free one.
        data_dir: a folder that keeps messages across restarts; None keeps them in memory only.
        sync: "full" keeps messages across a power loss, "normal" only across the end of the process.
        tls: certificates for an address `tls://`; with `require_client_cert` only clients with a certificate may call.
        authenticate: identifies callers, see `Server`; without it every client that can connect has all rights.
        policy: the rules; their keys `publish`, `subscribe`, `groups` and `manage` grant these rights. Without a policy
            every identity has all rights.

    Raises:
        ConfigError: the address is neither TCP nor TLS, there is a policy without `authenticate`, or an argument is
            invalid.
    """

    _scheme = "broker"

    def __init__(
        self,
        address: str | Address = DEFAULT_BROKER_ADDRESS,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        sync: Literal["full", "normal"] = "full",
        tls: TLS | None = None,
        authenticate: Authenticate | None = None,
        policy: Policy | None = None,
    ) -> None:
        rights = rights_of(authenticate, policy, command="broker")
        service = BrokerService(data_dir, sync=sync, rights=rights)
        super().__init__(service, address, broker_config(tls), authenticate=authenticate, rights=rights)
