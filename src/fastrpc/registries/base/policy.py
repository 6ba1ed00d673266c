"""The policy that decides which addresses from a registry may be dialled."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from fastrpc.endpoint import Address, relayed_host
from fastrpc.errors import ConfigError

__all__ = ["AddressPolicy", "AddressRefusedError"]

_Host: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Networks that contain no servers of a cluster: dialling them would leak secrets or do harm.
_NEVER = (
    "0.0.0.0/8",  # this host
    "::/128",
    "169.254.0.0/16",  # link-local: the metadata service of most clouds
    "fe80::/10",
    "fd00:ec2::/32",  # metadata, credentials of pods, resolver: AWS
    "fd20:ce::254/128",  # metadata: Google
    "fd00:c1::a9fe:a9fe/128",  # metadata: Oracle
    "fd00:42::42/128",  # metadata: Scaleway
    "fd00:a9fe:a9fe::/64",  # metadata: Akamai
    "100.100.100.200/32",  # metadata: Alibaba
    "168.63.129.16/32",  # Azure's wire server
    "192.0.0.192/32",  # metadata: Oracle
    "224.0.0.0/4",  # multicast
    "ff00::/8",
    "240.0.0.0/4",  # reserved, and broadcast
)

#: IPv6 prefixes of addresses that end with an IPv4 address, to which a gateway or this system forwards packets.
_EMBEDDING = [
    ipaddress.IPv6Network(text)
    for text in (
        "::/96",
        "::ffff:0:0:0/96",  # RFC 2765
        "64:ff9b::/96",  # RFC 6052
    )
]

#: A translator may use this prefix, or a longer prefix within it (RFC 8215). The IPv4 address follows the prefix, and
#: skips bits 64 to 71 (RFC 6052).
_LOCAL_TRANSLATION = ipaddress.IPv6Network("64:ff9b:1::/48")
_PREFIX_BITS = (48, 56, 64, 96)

#: Bits 64 to 95 of an ISATAP address; the IPv4 address follows (RFC 5214).
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}

_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")

#: The last label of a host name that inet_aton would parse as an address: 0xa9fea9fe and 2852039166 are
#: 169.254.169.254.
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\.?")

_METADATA_NAMES = {
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.tencentyun.com",
    "api.metadata.cloud.ibm.com",
    "metadata.platformequinix.com",
}


class AddressRefusedError(ValueError):
    """The policy refuses an address; the text says why."""


class AddressPolicy:
    """Decides which addresses from a registry may be dialled; registries are not trusted.

    Link-local, metadata, multicast and reserved addresses are always refused. If `networks` is given, host names are
    refused, because they are resolved only when they are dialled.

    Args:
        schemes: the only schemes that are allowed. If it contains `unix`, a registry can make clients dial any socket
            of this machine.
        networks: the only networks that are allowed, such as "10.0.0.0/8"; None allows all networks that are not always
            refused.

    Raises:
        ConfigError: a network cannot be parsed.
    """

    def __init__(
        self, *, schemes: Iterable[str] = ("tcp", "tls", "relay"), networks: Iterable[str] | None = None
    ) -> None:
        self._schemes = frozenset(schemes)
        self._networks = None if networks is None else [_network(text) for text in networks]
        self._never = [ipaddress.ip_network(text) for text in _NEVER]

    def check(self, address: Address) -> None:
        """Refuse an address that must not be dialled.

        Raises:
            AddressRefusedError: the policy forbids the address.
        """
        if address.scheme not in self._schemes:
            raise AddressRefusedError(
                f"scheme {address.scheme!r} is not allowed, only {', '.join(sorted(self._schemes))}"
            )
        if address.scheme in {"unix", "memory"}:
            return
        if address.scheme == "relay":
            _check_relayed(address)
        elif not address.host or not address.port or address.path:
            raise AddressRefusedError(f"{address} is not host and port")
        host = _numeric(address.host)
        if host is None:
            self._check_name(address.host)
            return
        for inner in _meant(host):
            self._check_host(inner)

    def _check_name(self, name: str) -> None:
        if self._networks is not None:
            raise AddressRefusedError(f"{name!r} is a name, and only some networks are allowed")
        plain = name.removesuffix(".")
        if len(name) > 255 or not _NAME.fullmatch(name) or _NUMBER.fullmatch(plain.rpartition(".")[2]):
            raise AddressRefusedError(f"{name!r} is not a host name")
        if plain in _METADATA_NAMES:
            raise AddressRefusedError(f"{name!r} is a metadata service")

    def _check_host(self, host: _Host) -> None:
        for network in self._never:
            if host in network:
                raise AddressRefusedError(f"{host} is in {network}, which is reserved")
        if self._networks is not None and not any(host in network for network in self._networks):
            raise AddressRefusedError(f"{host} is in none of the allowed networks")


def _check_relayed(address: Address) -> None:
    """Refuse an address behind a relay if it names no server, or has options: only servers have options."""
    try:
        relayed_host(address)
    except ConfigError as error:
        raise AddressRefusedError(error.message) from None
    if "?" in address.path:
        raise AddressRefusedError(f"{address} has options")


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a network: {error}", hint="write it as 10.0.0.0/8") from None


def _numeric(host: str) -> _Host | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _meant(host: _Host) -> Sequence[_Host]:
    """Return the address, and the IPv4 addresses that are embedded in an IPv6 address."""
    if isinstance(host, ipaddress.IPv4Address):
        return [host]
    if host.ipv4_mapped is not None:
        return [host.ipv4_mapped]
    meant: list[_Host] = [host, *(host.teredo or ())]
    if host.sixtofour is not None:
        meant.append(host.sixtofour)
    number = int(host)
    # ::1 and :: contain no IPv4 address.
    is_embedding = number > 1 and any(host in prefix for prefix in _EMBEDDING)
    if is_embedding or (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        meant.append(ipaddress.IPv4Address(number & 0xFFFF_FFFF))
    if host in _LOCAL_TRANSLATION:
        read = (_translated(number, bits) for bits in _PREFIX_BITS)
        # A prefix length that the translator does not use mostly yields an address whose first byte is zero. Ignore
        # such addresses.
        meant += [inner for inner in read if int(inner) >> 24]
    return meant


def _translated(number: int, prefix_bits: int) -> ipaddress.IPv4Address:
    """Return the IPv4 address that follows a prefix of `prefix_bits` bits."""
    if prefix_bits == 96:
        return ipaddress.IPv4Address(number & 0xFFFF_FFFF)
    # The number without bits 64 to 71.
    joined = (number >> 64) << 56 | (number & (1 << 56) - 1)
    return ipaddress.IPv4Address(joined >> (120 - prefix_bits - 32) & 0xFFFF_FFFF)
