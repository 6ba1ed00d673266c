"""TLS of a server: addresses without TLS, and the sessions of connections that another process accepted."""

from collections.abc import Mapping

from fastrpc.config import TLS, ServerConfig
from fastrpc.endpoint import Address, is_encrypted, is_local, relayed_host
from fastrpc.errors import ConfigError
from fastrpc.protocols.base import server_protocols, serves_pages_by_http2
from fastrpc.tls import ALPN, H2_ALPN, HTTP_ALPN
from fastrpc.tls.ends import ServerEnd
from fastrpc.transports.base import SessionFactory
from fastrpc.transports.sockets import encrypted

__all__ = ["Encryption", "check_listening"]

#: The order in which ALPN names are preferred; other protocols come last. Browsers name both versions of HTTP.
_PREFERENCE = (ALPN, H2_ALPN, HTTP_ALPN)

#: The order if HTTP/2 serves no pages, so that browsers reach the gateway. Clients of gRPC name only HTTP/2.
_WITHOUT_PAGES = (ALPN, HTTP_ALPN, H2_ALPN)


def check_listening(address: Address, config: ServerConfig, *, allow_plain: bool = False) -> None:
    """Refuse an address whose connections would lack the encryption that the settings promise.

    Raises:
        ConfigError: the address is `tls://` or `relay://` and there are no certificates, or `tcp://` beyond loopback
            and there are; or its scheme is a protocol, not a transport; or a relay address names no server.
    """
    if address.scheme in {"grpc", "grpcs"}:
        place = f"{'tls' if address.scheme == 'grpcs' else 'tcp'}://{str(address).partition('://')[2]}"
        raise ConfigError(
            f"cannot listen at {address}: gRPC is spoken at addresses of any transport",
            hint=f'listen at {place} with config=ServerConfig(protocols=("native", "grpc"))',
        )
    if is_encrypted(address) and config.tls is None:
        raise ConfigError(
            f"cannot listen at {address}: ServerConfig.tls is None",
            hint="write config=ServerConfig(tls=TLS(cert_file=…, key_file=…)), for fastrpc run --tls-cert FILE",
        )
    if address.scheme == "relay":
        relayed_host(address)
    if address.scheme == "tcp" and config.tls is not None and not allow_plain and not is_local(address):
        raise ConfigError(
            f"cannot listen at {address}: it is not encrypted, and ServerConfig.tls is set",
            hint=f"listen at tls://{str(address).partition('://')[2]}, or write listen(…, allow_plain=True)",
        )


def _in_order(config: ServerConfig) -> tuple[str | None, ...]:
    """Return the names of a server's protocols in ALPN, each once, in the order in which they are preferred."""
    order = _PREFERENCE if serves_pages_by_http2(config) else _WITHOUT_PAGES
    known = dict.fromkeys(name for protocol in server_protocols(config) for name in protocol.agreed)
    return (*(name for name in order if name in known), *(name for name in known if name not in order))


class Encryption:
    """The TLS of connections that another process accepted; it is set up with the first such connection.

    Each address has its certificates: a LAN pass protects a single listener.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._tls = config.tls
        #: The ALPN names on which clients and the server may agree; None means no name.
        self.agreed = _in_order(config)
        # TLS by address; None means all addresses with the server's certificates.
        self._ends: dict[Address | None, ServerEnd] = {}

    def prepare(self, addresses: Mapping[Address, TLS | None]) -> None:
        """Read the certificate files for encrypted addresses; None means the server's certificates.

        Raises:
            ConfigError: a file cannot be used.
        """
        for address, tls in addresses.items():
            key = None if tls is None else address
            if address.scheme == "tls" and key not in self._ends:
                self._ends[key] = ServerEnd(tls or self._tls or TLS(), agreed=self.agreed)

    def reload(self) -> None:
        """Read the certificate files again now."""
        for end in self._ends.values():
            end.reload()

    def wrapped(self, session_factory: SessionFactory, address: Address) -> SessionFactory:
        """Return the session factory for connections at an address.

        Raises:
            ConfigError: a certificate file cannot be used.
        """
        if address.scheme != "tls":
            return session_factory
        end = self._ends.get(address)
        if end is None:
            self.prepare({address: None})
            end = self._ends[None]
        return encrypted(session_factory, end)
