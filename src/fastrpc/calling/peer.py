"""The peer of a connection, as handlers and `authenticate` see it."""

from collections.abc import Mapping
from typing import Any

from fastrpc._core.native.connection import Connection
from fastrpc.calling.peer_client import PeerCalling, PeerClient
from fastrpc.endpoint import Address

__all__ = ["Peer"]


class Peer:
    """The other side of a connection: what it claims, and what the transport knows.

    A server's `authenticate` gets one; `current_call().peer` is another.
    """

    __slots__ = ("_calling", "_client", "_session", "address", "certificate", "credentials", "id", "scheme")

    #: Its address, in its transport's scheme, such as `tcp://10.0.0.7:51814`.
    address: Address
    #: Its authentication scheme: "bearer" for a token, "certificate" for TLS alone; "" if it sent no credentials.
    scheme: str
    #: Its credentials, such as a token; None if it sent none.
    credentials: str | None
    #: Its TLS certificate, as `ssl.SSLSocket.getpeercert()` returns it; None without one.
    certificate: Mapping[str, Any] | None
    #: The same on all connections of one Client that serves; None for a peer that serves nothing, and for a server.
    id: str | None

    def __init__(
        self,
        address: Address,
        scheme: str = "",
        credentials: str | None = None,
        *,
        certificate: Mapping[str, Any] | None = None,
    ) -> None:
        self.address = address
        self.scheme = scheme
        self.credentials = credentials
        self.certificate = certificate
        self.id = None
        self._calling: PeerCalling | None = None
        self._session: Connection | None = None
        self._client: PeerClient | None = None

    @property
    def client(self) -> "PeerClient | None":
        """What calls the peer on this connection; None unless the peer serves."""
        if self._client is None and self._calling is not None:
            self._client = PeerClient(self._calling, self.address, self._session)
        return self._client

    def _serve(self, session: Connection, calling: PeerCalling) -> None:
        """Note that the peer serves calls on this connection."""
        self.id = session.peer.client_id.hex() or None
        self._session, self._calling = session, calling

    def _lose(self) -> None:
        """Note that the connection is gone."""
        self._session = None

    def __str__(self) -> str:
        return str(self.address)

    def __repr__(self) -> str:
        # Credentials must not get into a log.
        shown = "" if self.credentials is None else ", credentials=…"
        return f"Peer({str(self.address)!r}, scheme={self.scheme!r}{shown})"
