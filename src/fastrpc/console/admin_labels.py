"""The admin pages of a record's server: their address is in a label of the record."""

from functools import lru_cache
from typing import Final

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError

__all__ = ["ADMIN_LABEL", "admin_of", "server_key"]

#: The label of a record with the address of its server's admin pages.
ADMIN_LABEL: Final = "admin"

#: Characters of an address with a host name (RFC 1035: 253), its scheme and its port.
_LONGEST_LABEL: Final = 300


def server_key(endpoint: Endpoint) -> str:
    """Return the key of the server that has a record."""
    return str(admin_of(endpoint) or endpoint.address)


def admin_of(endpoint: Endpoint) -> Address | None:
    """Return the address in the label of a record; None if there is no such label."""
    label = endpoint.labels.get(ADMIN_LABEL, "")
    return _parsed(label) if len(label) <= _LONGEST_LABEL else None


# Views of services need the addresses of all records each time. The cache holds as many addresses as a console keeps
# servers.
@lru_cache(4_096)
def _parsed(label: str) -> Address | None:
    try:
        return Address.parse(label)
    except ConfigError:
        return None
