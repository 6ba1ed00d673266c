"""The admin addresses that the console reads. A registry names them, and is not trusted."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from fastrpc.endpoint import Address, is_local
from fastrpc.errors import ConfigError
from fastrpc.networks import Networks, packed_address
from fastrpc.registries.base.policy import AddressPolicy, AddressRefusedError

__all__ = ["LOOPBACK", "AllowedServers", "admin_address"]

#: The default patterns. Servers that match only these get no token.
LOOPBACK: Final = ("127.0.0.0/8", "::1", "localhost")

#: The form of a host. Numbers with `*` are refused: a network is more exact.
_HOST_PATTERN: Final = re.compile(r"(?![0-9.*]*[0-9][0-9.*]*$)[a-z0-9*](?:[a-z0-9_.*-]*[a-z0-9*])?")
_WITH_PORT: Final = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):([0-9]{1,5})")

#: The schemes of admin addresses, and of their URLs.
_SCHEMES: Final = {"http": "tcp", "https": "tls"}


def admin_address(url: str) -> Address:
    """Return the address of admin pages by one of its forms.

    The forms are URLs http://host:port and https://host:port, the addresses tcp://host:port and tls://host:port that
    servers have in their settings and logs, and host:port for http://host:port.

    Raises:
        ConfigError: the text has another form.
    """
    scheme, mark, rest = url.partition("://") if "://" in url else ("http", "://", url)
    address = Address.parse(f"{_SCHEMES.get(scheme.lower(), scheme)}{mark}{rest.rstrip('/')}")
    if address.scheme not in _SCHEMES.values() or address.path:
        raise ConfigError(
            f"{address} is not an address of admin pages",
            hint="write it as http://host:port or https://host:port, tcp://host:port or tls://host:port, or host:port",
        )
    return address


class AllowedServers:
    """Decides which admin addresses may be read, and so get the token for reading.

    Args:
        patterns: host names in which `*` stands for any characters, addresses, and networks such as 10.0.0.0/8; each
            may end with `:PORT`, and an IPv6 address is then in brackets. Without patterns no address is read.
        takes_acts: whether the tokens of operators may be sent to addresses that the user named.

    Raises:
        ConfigError: a text has another form.
    """

    def __init__(self, patterns: Sequence[str] = LOOPBACK, *, takes_acts: bool = True) -> None:
        self._takes_acts = takes_acts
        self._patterns = [_parsed(text) for text in patterns]
        self._policy = AddressPolicy(schemes=_SCHEMES.values())
        #: Ports of this machine that are never asked: the ports of this console.
        self.own_ports: frozenset[int] = frozenset()

    def check(self, address: Address, records: Iterable[Address]) -> None:
        """Refuse an address that a registry names.

        Args:
            records: the addresses of the server in its records.

        Raises:
            AddressRefusedError: the address is forbidden; the text says why.
        """
        self._policy.check(address)
        is_here = is_local(address)
        if is_here and address.port in self.own_ports:
            raise AddressRefusedError(f"{address} is this console")
        if is_here and not any(map(is_local, records)):
            raise AddressRefusedError(f"{address} is on this machine, and its server is on another")
        if not self._patterns:
            raise AddressRefusedError(f"the reading token is shown to {address} only if --servers names it")
        if not self._matches(address):
            raise AddressRefusedError(f"{address} matches no pattern of --servers")
        self.check_encrypted(address)

    def check_act(self, address: Address, records: Iterable[Address]) -> None:
        """Refuse an address that a registry names, before the token of an operator is shown to it.

        Raises:
            AddressRefusedError: the address is forbidden; the text says why.
        """
        if not self._takes_acts:
            raise AddressRefusedError(
                f"the token of an operator is shown to {address} only if --servers or --target names it"
            )
        self.check(address, records)

    @staticmethod
    def check_encrypted(address: Address) -> None:
        """Refuse an address at which others could read the token on its way.

        Raises:
            AddressRefusedError: the address is neither encrypted nor on this machine.
        """
        if address.scheme != "tls" and not is_local(address):
            raise AddressRefusedError(f"{address} is neither encrypted nor on this machine")

    def _matches(self, address: Address) -> bool:
        found = [pattern for pattern, port in self._patterns if port in (None, address.port)]
        try:
            packed = packed_address(address.host)
        except OSError:
            host = address.host.removesuffix(".")
            return any(one.fullmatch(host) for one in found if isinstance(one, re.Pattern))
        return any(one.longest(packed) >= 0 for one in found if isinstance(one, Networks))


def _parsed(text: str) -> tuple[Networks | re.Pattern[str], int | None]:
    """Return the networks or names of a pattern, and its port.

    Raises:
        ConfigError: the text is not a pattern.
    """
    found = _WITH_PORT.fullmatch(text)
    host, port = (text, None) if found is None else (found[1] or found[2], int(found[3]))
    if port is None or port <= 0xFFFF:
        with suppress(ValueError):
            return Networks([host]), port
        if _HOST_PATTERN.fullmatch(host.lower()):
            return re.compile(re.escape(host.lower()).replace(r"\*", ".*")), port
    raise ConfigError(
        f"{text!r} is not a pattern of servers",
        hint="write a host such as *.shop.example, or a network such as 10.0.0.0/16; :PORT may follow",
    )
