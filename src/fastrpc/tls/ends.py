"""The two ends of a TLS connection: their context, the checks once it is open, the meaning of a failure."""

import socket
import ssl
from typing import Protocol

from fastrpc.config import TLS
from fastrpc.tls import ALPN, HTTP_ALPN
from fastrpc.tls.certificate import alternative_names
from fastrpc.tls.contexts import ContextSource, client_contexts, server_contexts
from fastrpc.tls.failures import HandshakeError, explained
from fastrpc.tls.resumption import TwinContext, check_full, offered_session

__all__ = ["ClientEnd", "End", "HttpEnd", "ServerEnd"]


class End(Protocol):
    """One end of TLS connections."""

    #: Whether the first bytes of the other side choose the object that encrypts, which `answer` then makes.
    reads_hello: bool

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """Return the object that encrypts one connection."""

    def answer(self, hello: bytes, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject | None:
        """Return the object that encrypts a connection with these first bytes, None as long as they are too few."""

    def check(self, ssl_object: ssl.SSLObject) -> None:
        """Check a connection whose handshake is over, before any byte of it is parsed.

        Raises:
            HandshakeError: the connection is refused.
        """

    def explain(self, error: Exception, is_open: bool, ssl_object: ssl.SSLObject) -> OSError:
        """Return an error of TLS in words; `is_open` says whether the handshake was complete."""


class ServerEnd:
    """The end of a server.

    Raises:
        ConfigError: a certificate file cannot be used.

    Args:
        agreed: the names that both sides may agree on by ALPN; None means no protocol.
    """

    def __init__(self, tls: TLS, *, agreed: tuple[str | None, ...] = (ALPN,)) -> None:
        #: True with `ca_file`: the ClientHello shows whether a session is resumed, which would skip the client's
        #: certificate.
        self.reads_hello = tls.ca_file is not None
        offered = tuple(name for name in agreed if name is not None)
        # Without a name for ALPN, a client that names no protocol may connect.
        self._contexts: ContextSource = server_contexts(tls, offered or (ALPN,))
        self._agreed = agreed

    def reload(self) -> None:
        """Read the certificate files again now; open connections stay."""
        self._contexts.reload()

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        return self._contexts.current().wrap_bio(incoming, outgoing, server_side=True)

    def answer(self, hello: bytes, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject | None:
        session = offered_session(hello)
        if session is None:
            return None
        context = self._contexts.current()
        if isinstance(context, TwinContext):
            context = context.for_session(session)
        return context.wrap_bio(incoming, outgoing, server_side=True)

    def check(self, ssl_object: ssl.SSLObject) -> None:
        if self.reads_hello:
            check_full(ssl_object)
        found = ssl_object.selected_alpn_protocol()
        if found in self._agreed:
            return
        if found is None:
            raise HandshakeError(f"the client did not name the protocol {ALPN} (ALPN)")
        raise HandshakeError(f"the client wants the protocol {found} (ALPN), which is not spoken here")

    def explain(self, error: Exception, is_open: bool, ssl_object: ssl.SSLObject) -> OSError:
        return explained(error, other="client", is_open=is_open, ssl_object=ssl_object)


class ClientEnd:
    """The end of a client.

    Raises:
        ConfigError: a certificate file cannot be used.

    Args:
        host: the host that was dialled.
        protocol: the name on which to agree by ALPN; None for a protocol without a name in ALPN.
    """

    reads_hello = False

    def __init__(self, tls: TLS | None, host: str, protocol: str | None = ALPN) -> None:
        settings = tls or TLS()
        self._contexts: ContextSource = client_contexts(settings, protocol)
        self._protocol = protocol
        self._identities = settings.server_identities
        # Only this machine knows the scope of an IPv6 address.
        self._name = settings.server_name or host.partition("%")[0]

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        return self._contexts.current().wrap_bio(incoming, outgoing, server_hostname=self._name)

    def answer(self, hello: bytes, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject | None:
        return self.wrap(incoming, outgoing)

    def check(self, ssl_object: ssl.SSLObject) -> None:
        if ssl_object.selected_alpn_protocol() != self._protocol:
            raise HandshakeError(
                f"the server does not speak the protocol {self._protocol} (ALPN)",
                hint="is it a fastrpc server?",
            )
        _check_identity(ssl_object, self._identities)

    def explain(self, error: Exception, is_open: bool, ssl_object: ssl.SSLObject) -> OSError:
        return explained(error, other="server", is_open=is_open, ssl_object=ssl_object)


class HttpEnd:
    """The end of an HTTP client, over blocking sockets.

    Raises:
        ConfigError: a certificate file cannot be used.
    """

    def __init__(self, tls: TLS, host: str) -> None:
        self._contexts: ContextSource = client_contexts(tls, HTTP_ALPN)
        self._identities = tls.server_identities
        self._name = tls.server_name or host.partition("%")[0]

    def context(self) -> ssl.SSLContext:
        """Return the context for a client that does the handshake itself and calls `check` after it."""
        return self._contexts.current()

    def check(self, opened: ssl.SSLObject | ssl.SSLSocket) -> None:
        """Check a connection whose handshake is over, before a secret is sent.

        Raises:
            HandshakeError: the connection is refused.
        """
        _check_identity(opened, self._identities)

    def wrap(self, connected: socket.socket) -> ssl.SSLSocket:
        """Do the handshake on a connected socket, within its timeout; the result owns it.

        Raises:
            OSError: the handshake failed; the text says why.
        """
        context, wrapped = self._contexts.current(), None
        try:
            # Raises if the peer has reset the connection. `wrap_socket` would take over such a socket, raise before it
            # returns, and so lose the socket.
            connected.getpeername()
            wrapped = context.wrap_socket(
                connected, server_hostname=self._name, do_handshake_on_connect=False
            )
            wrapped.do_handshake()
            self.check(wrapped)
        except BaseException as error:
            told = error
            if isinstance(error, (OSError, ValueError)) and not isinstance(error, TimeoutError):
                told = explained(error, other="server", is_open=False, ssl_object=wrapped)
            (connected if wrapped is None else wrapped).close()
            if told is error:
                raise
            raise told from None
        return wrapped


def _check_identity(opened: ssl.SSLObject | ssl.SSLSocket, identities: tuple[str, ...]) -> None:
    """Check that the server's certificate has one of the given URIs; without URIs there is no check."""
    if not identities:
        return
    found = alternative_names(opened.getpeercert() or {}, "URI")
    if not set(found) & set(identities):
        shown = ", ".join(map(repr, found)) or "none"
        raise HandshakeError(
            f"the certificate of the server is refused: its URIs are {shown}, server_identities has none of them"
        )
