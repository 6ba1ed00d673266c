"""A relay inside a program: for tests, and for programs that host one."""

from fastrpc.auth.policy import Policy
from fastrpc.config import TLS
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.handlers.auth.access_options import Authenticate
from fastrpc.hosted.rights import rights_of
from fastrpc.hosted.server import HostedServer
from fastrpc.relay.front import RelayLimits
from fastrpc.relay.service import RelayService, relay_config

__all__ = ["DEFAULT_RELAY_ADDRESS", "RelayServer", "check_relay_address", "relay_url"]

DEFAULT_RELAY_ADDRESS = "tls://0.0.0.0:8443"


class RelayServer(HostedServer):
    """A relay that serves while its `async with` block lasts; the command `fastrpc relay` does the same.

    Args:
        address: the address to listen at, `tls://`; port 0 chooses a free one.
        name: the host name of the relay, such as `relay.example`. A server that claims `edge-7` is then reached at
            `edge-7.relay.example`, at the same port.
        tls: the certificates of the relay, for servers that claim names. Callers see the servers' certificates.
        authenticate: identifies servers, see `Server`.
        policy: the rules, whose key `relay` grants names; without it every identity may claim every name.
        limits: the limits of connections.

    Raises:
        ConfigError: an argument cannot be used.
    """

    _scheme = "relay"

    def __init__(
        self,
        address: str | Address = DEFAULT_RELAY_ADDRESS,
        *,
        name: str,
        tls: TLS,
        authenticate: Authenticate,
        policy: Policy | None = None,
        limits: RelayLimits | None = None,
    ) -> None:
        check_relay_address(Address.parse(address))
        rights = rights_of(authenticate, policy, command="relay")
        service = RelayService(name, rights=rights, limits=limits)
        super().__init__(service, address, relay_config(tls), authenticate=authenticate, rights=rights)
        self._name = service.front.name
        service.front.begin_connections_of(self._server)
        #: The connections to the relay.
        self.front = service.front

    @property
    def url(self) -> str:
        """The URL, to which servers append `/NAME`: `relay://relay.example:8443`."""
        return relay_url(self._name, self._address)


def relay_url(name: str, address: Address) -> str:
    """Return the URL, to which servers append `/NAME`, of a relay that listens at an address."""
    return f"relay://{name}:{address.port}"


def check_relay_address(address: Address) -> None:
    """Refuse an address that a relay cannot listen at. ConfigError."""
    if address.scheme not in ("tls", "fd"):
        raise ConfigError(f"{address} is not encrypted", hint="a relay listens at tls://host:port")
