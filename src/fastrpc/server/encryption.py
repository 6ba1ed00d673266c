"""TLS of a server: refuses addresses without TLS, and wraps connections that another process accepted."""

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

#: The order of preference of ALPN names. Other protocols are last. Browsers offer both versions of HTTP.
_PREFERENCE = (ALPN, H2_ALPN, HTTP_ALPN)

#: The order if HTTP/2 is only for gRPC, so that browsers reach the gateway by HTTP/1.1. gRPC clients offer only HTTP/2.
_WITHOUT_PAGES = (ALPN, HTTP_ALPN, H2_ALPN)


def check_listening(address: Address, config: ServerConfig, *, allow_plain: bool = False) -> None:
    """Refuse an address whose connections would not have the encryption that the settings require.

    Raises:
        ConfigError: the address is `tls://` or `relay://` without certificates, or `tcp://` beyond loopback with
            certificates; or its scheme is a protocol, not a transport; or a relay address names no server.
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
    """Return the ALPN names of a server's protocols, each once, in order of preference."""
    order = _PREFERENCE if serves_pages_by_http2(config) else _WITHOUT_PAGES
    known = dict.fromkeys(name for protocol in server_protocols(config) for name in protocol.agreed)
    return (*(name for name in order if name in known), *(name for name in known if name not in order))


class Encryption:
    """TLS for connections that another process accepted. It is set up at the first such connection.

    Each address has separate certificates, because a LAN pass protects only its listener.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._tls = config.tls
        #: The ALPN names on which a client and the server may agree. None stands for a connection without ALPN.
        self.agreed = _in_order(config)
        # TLS by address. The key None stands for all addresses with the server's certificates.
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
