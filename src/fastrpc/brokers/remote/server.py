"""A broker inside a program: for tests, and for programs that host it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastrpc.auth.policy import Policy
from fastrpc.brokers.base import BrokerBackend
from fastrpc.brokers.memory import MemoryBroker
from fastrpc.brokers.remote.service import BrokerService, broker_config
from fastrpc.config import TLS
from fastrpc.endpoint import Address
from fastrpc.handlers.auth.access_options import Authenticate
from fastrpc.hosted.rights import rights_of
from fastrpc.hosted.server import HostedServer

__all__ = ["DEFAULT_BROKER_ADDRESS", "BrokerServer"]

DEFAULT_BROKER_ADDRESS = "tcp://127.0.0.1:8971"


class BrokerServer(HostedServer):
    """A broker that serves while its `async with` block lasts; `fastrpc broker` is the same as a command.

    Args:
        address: where it listens; port 0 takes a free one.
        opening: returns the backend, to be entered; without it messages are in the memory of this process.
        tls: certificates for an address `tls://`; with `require_client_cert` only clients that have one may ask.
        authenticate: identifies callers, see `Server`; without it every client that can connect may do all.
        policy: the rules, whose keys `publish`, `subscribe`, `groups` and `manage` grant these rights; without it every
            identity has them.

    Raises:
        ConfigError: the address is neither TCP nor TLS, the policy comes without `authenticate`, or an argument
            cannot be used.
    """

    _scheme = "broker"

    def __init__(
        self,
        address: str | Address = DEFAULT_BROKER_ADDRESS,
        *,
        opening: Callable[[], AbstractAsyncContextManager[BrokerBackend]] = MemoryBroker,
        tls: TLS | None = None,
        authenticate: Authenticate | None = None,
        policy: Policy | None = None,
    ) -> None:
        rights = rights_of(authenticate, policy, command="broker")
        service = BrokerService(opening, rights=rights)
        super().__init__(service, address, broker_config(tls), authenticate=authenticate, rights=rights)
