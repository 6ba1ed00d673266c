"""The clients of trusted proxies: `HTTP(trusted_proxies=("10.0.0.0/8", "unix"))`.

A proxy appends the address of its peer to `X-Forwarded-For`. The entries are read from the right: trusted addresses are
skipped, and the first other entry is the client. Entries further left are ignored, because the client may have written
them. `Forwarded`, `X-Forwarded-Host` and `X-Forwarded-Port` are ignored too: a proxy that does not set them passes on
the client's fields.
"""

import ipaddress
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from fastrpc.endpoint import Address
from fastrpc.networks import Networks, packed_address
from fastrpc.peers.peer import Peer, at_address

__all__ = ["TrustedProxies"]

#: The most entries that are read. No chain of proxies is longer.
_MOST_ENTRIES: Final = 10

#: The most characters of an address with brackets and a port.
_LONGEST: Final = 64

#: The schemes for values of `X-Forwarded-Proto`. For another or no value, the scheme of the connection is used.
_SCHEMES: Final = {"https": "tls", "http": "tcp"}

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """Finds the client of each request.

    Args:
        trusted: networks, and "unix" for all peers at unix sockets.
        refusal_of: returns status and text for a refused client (`fastrpc.server.edges`); None to accept every client.
    """

    def __init__(
        self, trusted: Sequence[str], refusal_of: Callable[[Peer, bool], tuple[int, str] | None] | None = None
    ) -> None:
        self._networks = Networks(text for text in trusted if text != "unix")
        self._trusts_unix = "unix" in trusted
        self._refusal_of = refusal_of

    def client_of(
        self, peer: Peer, forwarded_for: Sequence[str], forwarded_proto: Sequence[str]
    ) -> tuple[Peer, tuple[int, str] | None] | None:
        """Return the peer of one request, and its refusal if any; None if the connection is not a trusted proxy's."""
        if not self._trusts_peer(peer.address):
            return None
        found, is_named = self._client(forwarded_for)
        client = _peer_behind(peer, found, forwarded_proto)
        if self._refusal_of is None:
            return client, None
        return client, self._refusal_of(client, not is_named)

    def __call__(
        self, peer: Peer, forwarded_for: Sequence[str], forwarded_proto: Sequence[str]
    ) -> Peer | None:
        """Return the peer of one request on a connection; None if the peer of the connection is not trusted.

        Args:
            forwarded_for: the values of all `X-Forwarded-For` fields.
            forwarded_proto: the values of all `X-Forwarded-Proto` fields.
        """
        if not self._trusts_peer(peer.address):
            return None
        return _peer_behind(peer, self._client(forwarded_for)[0], forwarded_proto)

    def _client(self, forwarded_for: Sequence[str]) -> tuple[tuple[_Address, int] | None, bool]:
        """Return the client's address and True, else False with the address of the last known proxy, or with None.

        In a request without entries, or with only trusted entries, the client is a proxy itself.
        """
        found: tuple[_Address, int] | None = None
        entries = _entries(forwarded_for) if any(forwarded_for) else []
        for entry in islice(reversed(entries), _MOST_ENTRIES):
            read = _address(entry)
            if read is None:
                return found, False
            found = read
            if self._networks.longest(read[0].packed) < 0:
                return found, True
        return found, len(entries) <= _MOST_ENTRIES

    def _trusts_peer(self, address: Address) -> bool:
        if address.scheme == "unix":
            return self._trusts_unix
        if not address.host:
            return False
        return self.trusts(address.host)

    def trusts(self, host: str) -> bool:
        """Return whether an IP address belongs to a trusted proxy."""
        return self._networks.longest(packed_address(host)) >= 0


def _peer_behind(peer: Peer, found: tuple[_Address, int] | None, forwarded_proto: Sequence[str]) -> Peer:
    """Return the peer of one request on a trusted proxy's connection: the named client, else the proxy."""
    address = peer.address
    # If a proxy at a unix socket states no scheme, its client's connection counts as plain text.
    own = address.scheme if address.host else "tcp"
    scheme = _SCHEMES.get(_entries(forwarded_proto)[-1], own) if forwarded_proto else own
    if found is not None:
        address = Address(scheme, host=str(found[0]), port=found[1])
    elif address.host and scheme != own:
        address = Address(scheme, host=address.host, port=address.port)
    return at_address(peer, address) if found is None else Peer(address, protocol=peer.protocol)


def _entries(values: Sequence[str]) -> list[str]:
    """Return the items of a field. Repeated fields form one list."""
    return [entry.strip(" \t") for value in values for entry in value.split(",")]


def _address(entry: str) -> tuple[_Address, int] | None:
    """Return the address and the port, or 0, of `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]` or `[::1]:80`."""
    if len(entry) > _LONGEST:
        return None
    host, port = entry, ""
    if entry.startswith("["):
        host, _, port = entry[1:].partition("]")
        if port and not port.startswith(":"):
            return None
        port = port[1:]
    elif entry.count(":") == 1:
        host, _, port = entry.partition(":")
        if not port:
            return None
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
        return None
    if "%" in host or (entry.startswith("[") and ":" not in host):
        return None
    try:
        return _plain(ipaddress.ip_address(host)), int(port or 0)
    except ValueError:
        return None


def _plain(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 address represents; other addresses are returned unchanged."""
    return getattr(address, "ipv4_mapped", None) or address
