"""The admin addresses that the console reads. A registry names them, and is not trusted."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from fastrpc.endpoint import Address, is_local
from fastrpc.errors import ConfigError
from fastrpc.networks import Networks, packed_address
from fastrpc.registries.base.policy import AddressPolicy, AddressRefusedError

__all__ = ["LOOPBACK", "AllowedServers", "admin_address"]

#: The patterns without any given.
LOOPBACK: Final = ("127.0.0.0/8", "::1", "localhost")

_HOST_PATTERN: Final = re.compile(r"[a-z0-9*](?:[a-z0-9_.*-]*[a-z0-9*])?")

#: The schemes of admin addresses, and of their URLs.
_SCHEMES: Final = {"http": "tcp", "https": "tls"}


def admin_address(url: str) -> Address:
    """Return the address of admin pages by their URL, http:// or https://, or by an address tcp:// or tls://.

    Raises:
        ConfigError: the text is neither.
    """
    scheme, mark, rest = url.partition("://")
    address = Address.parse(f"{_SCHEMES.get(scheme.lower(), scheme)}{mark}{rest.rstrip('/')}")
    if address.scheme not in _SCHEMES.values() or address.path:
        raise ConfigError(
            f"{address} is no address of admin pages",
            hint="write it as http://host:port or https://host:port",
        )
    return address


class AllowedServers:
    """Decides which admin addresses may be asked, and so may see the reading token.

    Args:
        patterns: host names in which `*` stands for any characters, addresses, and networks such as 10.0.0.0/8.

    Raises:
        ConfigError: a pattern is neither.
    """

    def __init__(self, patterns: Sequence[str] = LOOPBACK) -> None:
        networks, names = [], []
        for text in patterns:
            pattern = text.lower()
            try:
                Networks([pattern])
            except ValueError:
                if not _HOST_PATTERN.fullmatch(pattern) or "/" in pattern:
                    raise ConfigError(
                        f"{text!r} is no pattern of servers",
                        hint="write a host such as *.shop.example, or a network such as 10.0.0.0/8",
                    ) from None
                names.append(re.escape(pattern).replace(r"\*", ".*"))
            else:
                networks.append(pattern)
        self._networks = Networks(networks)
        self._names = re.compile("|".join(names) or r"(?!)")
        self._policy = AddressPolicy(schemes=_SCHEMES.values())
        #: Ports of this machine that are never asked: the console's.
        self.own_ports: frozenset[int] = frozenset()

    def check(self, address: Address, records: Iterable[Address]) -> None:
        """Refuse an address that a registry names.

        Args:
            records: the addresses of the server in its records.

        Raises:
            AddressRefusedError: it must not be asked; the text says why.
        """
        self._policy.check(address)
        is_here = is_local(address)
        if is_here and address.port in self.own_ports:
            raise AddressRefusedError(f"{address} is this console")
        if is_here and not any(map(is_local, records)):
            raise AddressRefusedError(f"{address} is on this machine, and its server is on another")
        if not self._matches(address.host):
            raise AddressRefusedError(f"{address.host} matches no pattern of --servers")
        self.check_encrypted(address)

    @staticmethod
    def check_encrypted(address: Address) -> None:
        """Refuse an address at which others could read the token on its way.

        Raises:
            AddressRefusedError: it is neither encrypted nor on this machine.
        """
        if address.scheme != "tls" and not is_local(address):
            raise AddressRefusedError(f"{address} is neither encrypted nor on this machine")

    def _matches(self, host: str) -> bool:
        try:
            return self._networks.longest(packed_address(host)) >= 0
        except OSError:
            return self._names.fullmatch(host.removesuffix(".")) is not None
