"""The peer of a connection, as handlers and `authenticate` see it."""

from collections.abc import Mapping
from typing import Any

from fastrpc.endpoint import Address
from fastrpc.networks import network_name, packed_address
from fastrpc.peers.peer_client import PeerCalling, PeerClient

__all__ = ["Peer", "at_address", "limit_name_of", "presenting"]


class Peer:
    """The other side of a connection: data that it claims, and data of the transport.

    A server's `authenticate` gets another Peer object than `current_call().peer`.
    """

    __slots__ = (
        "_calling",
        "_client",
        "_connection",
        "_is_pushed",
        "_shown",
        "_user",
        "address",
        "certificate",
        "credentials",
        "id",
        "protocol",
        "scheme",
    )

    #: The address of the peer, in the scheme of its transport, such as `tcp://10.0.0.7:51814`.
    address: Address
    #: Its authentication scheme: "bearer" for a token, "certificate" for TLS alone, "" if the connection sent no
    #: credentials. Credentials of a single call, as in HTTP and gRPC, are in the metadata of that call.
    scheme: str
    #: Its credentials, such as a token, in plain text; None if it sent none. They are kept until the connection closes:
    #: they are verified again when a file of tokens changes, and a handler may pass them on.
    credentials: str | None
    #: The verified TLS certificate of the peer; None if it has none. The dict has the keys of
    #: `ssl.SSLSocket.getpeercert()`, and `dns_names`, `uris`, `fingerprint` (SHA-256) and `expires` (seconds of
    #: `time.time()`).
    certificate: Mapping[str, Any] | None
    #: The name of its protocol, as in `ServerConfig.protocols`: usually "native"; "websocket" for a WebSocket,
    #: "connect" and "grpc_web" for calls from web pages. The peer of a call has the protocol of that call.
    protocol: str
    #: An id that is the same on all connections of one Client that serves; None for a peer that does not serve, and for
    #: a server.
    id: str | None

    def __init__(
        self,
        address: Address,
        scheme: str = "",
        credentials: str | None = None,
        *,
        certificate: Mapping[str, Any] | None = None,
        protocol: str = "native",
        user: int | None = None,
    ) -> None:
        self.address = address
        self.scheme = scheme
        self.credentials = credentials
        self.certificate = certificate
        self.protocol = protocol
        self.id = None
        self._calling: PeerCalling | None = None
        self._connection: Any = None
        #: Whether the peer can only get notifications, as over rpcx.
        self._is_pushed = False
        self._client: PeerClient | None = None
        #: The address of the peer as text for logs, cached for the first record.
        self._shown: str | None = None
        #: For a unix socket, the user id of the process that connected.
        self._user = user

    @property
    def client(self) -> "PeerClient | None":
        """A client for calls to this peer, or None if the peer does not serve. Over rpcx only `notify` works."""
        if self._client is None and self._calling is not None:
            if not self._is_pushed:
                self._client = PeerClient(self._calling, self.address, self._connection, Peer)
            else:
                # Imported on first use: most servers speak only the native protocol.
                from fastrpc.peers.push_client import PushClient

                self._client = PushClient(self._calling, self.address, self._connection, Peer)
        return self._client

    def _serve(self, connection: Any, calling: PeerCalling, *, is_pushed: bool) -> None:
        """Record that the peer serves calls on this connection, or accepts pushes on it."""
        self._is_pushed = is_pushed
        if not is_pushed:
            self.id = connection.peer.client_id.hex() or None
        self._connection, self._calling = connection, calling

    def _limit_name(self) -> bytes:
        """Return the key under which limits count the peer's calls: an IPv4 address, an IPv6 /64, or a local user."""
        if self.address.host:
            return _limit_name(self.address.host)
        return f"{self.address.scheme}:{'' if self._user is None else self._user}".encode()

    def _lose(self) -> None:
        """Record that the connection is closed."""
        self._connection = None

    def __str__(self) -> str:
        return str(self.address)

    def __repr__(self) -> str:
        # Credentials must not appear in a log.
        shown = "" if self.credentials is None else ", credentials=…"
        return f"Peer({str(self.address)!r}, scheme={self.scheme!r}{shown})"


def presenting(known: Peer, scheme: str, credentials: str | None) -> Peer:
    """Return a peer with the credentials that it presents now, in addition to its certificate."""
    return Peer(
        known.address,
        scheme,
        credentials,
        certificate=known.certificate,
        protocol=known.protocol,
        user=known._user,
    )


def at_address(known: Peer, address: Address) -> Peer:
    """Return a peer of the same protocol and user at another address, without credentials and certificate."""
    return Peer(address, protocol=known.protocol, user=known._user)


def limit_name_of(peer: Peer | None) -> bytes:
    """Return the key under which limits count the calls of a peer; empty if it has no key."""
    return b"" if peer is None else peer._limit_name()


def _limit_name(host: str) -> bytes:
    """Return the network of an IP address, or the unchanged name of a peer of another transport."""
    try:
        return network_name(packed_address(host))
    except OSError:
        return host.encode()
