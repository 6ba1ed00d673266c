"""IP addresses as text, and networks. In networks an IPv4-mapped IPv6 address counts as IPv4."""

import socket
from collections.abc import Iterable
from typing import Any, Final

__all__ = ["Networks", "ProxyNetworks", "authority", "network_name", "packed_address", "place_name"]

#: The start of an IPv4-mapped IPv6 address (RFC 4291).
_MAPPED_IPV4: Final = bytes(10) + b"\xff\xff"


def place_name(host: str, port: int) -> str:
    """Return host and port as one text, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def authority(host: str, port: int) -> str:
    """Return host and port for a peer: without the zone of an IPv6 address, which only this machine knows."""
    return place_name(host.partition("%")[0], port)


def packed_address(host: str) -> bytes:
    """Return an IP address as 4 or 16 bytes, without its interface.

    Raises:
        OSError: the text is not an IP address.
    """
    text = host.partition("%")[0]
    if ":" not in text:
        return socket.inet_pton(socket.AF_INET, text)
    packed = socket.inet_pton(socket.AF_INET6, text)
    return packed.removeprefix(_MAPPED_IPV4)


def network_name(packed: bytes) -> bytes:
    """Return an IPv4 address, or the /64 of an IPv6 address: a caller can freely choose the lower half."""
    return packed[:8]


class Networks:
    """Networks such as `10.0.0.0/8`. The time of a look-up does not depend on the number of networks."""

    def __init__(self, texts: Iterable[str]) -> None:
        # Imported on first use: few servers name any network.
        import ipaddress

        # Size of addresses -> prefix length -> the leading bits of each network.
        found: dict[int, dict[int, set[int]]] = {4: {}, 16: {}}
        for text in texts:
            network = ipaddress.ip_network(text)
            packed, length = network.network_address.packed, network.prefixlen
            if packed.startswith(_MAPPED_IPV4) and length >= len(_MAPPED_IPV4) * 8:
                packed, length = packed[len(_MAPPED_IPV4) :], length - len(_MAPPED_IPV4) * 8
            leading = int.from_bytes(packed) >> (len(packed) * 8 - length)
            found[len(packed)].setdefault(length, set()).add(leading)
        self._found = {size: sorted(lengths.items(), reverse=True) for size, lengths in found.items()}

    def longest(self, packed: bytes) -> int:
        """Return the prefix length of the longest network that contains an address, -1 if none does."""
        bits, number = len(packed) * 8, int.from_bytes(packed)
        for length, leading in self._found[len(packed)]:
            if number >> (bits - length) in leading:
                return length
        return -1


class ProxyNetworks:
    """The networks of proxies, compared with the peers of connections."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._networks = Networks(texts)

    def contains(self, peer_name: Any) -> bool:
        """Return whether a network contains a peer's socket address; no network contains a Unix socket."""
        return isinstance(peer_name, tuple) and self._networks.longest(packed_address(peer_name[0])) >= 0
