"""The label of a record that contains the address of its server's admin pages."""

from typing import Final

from fastrpc.endpoint import Address, Endpoint, copied, is_local
from fastrpc.errors import ConfigError
from fastrpc.registries.base.urls import UNDIALABLE

__all__ = ["ADMIN", "advertised_pages", "with_pages"]

#: The name of the label.
ADMIN: Final = "admin"

#: The schemes of pages that other machines can read.
_SCHEMES: Final = ("tcp", "tls")


def advertised_pages(given: str) -> Address:
    """Return the address of the pages, parsed from a setting.

    Raises:
        ConfigError: the address cannot be dialled.
    """
    address = Address.parse(given)
    if address.scheme not in _SCHEMES or not address.host or address.host in UNDIALABLE:
        raise ConfigError(
            f"{given!r} is not an address of pages that others can dial", hint="write tcp://host:port"
        )
    return address


def with_pages(record: Endpoint, advertise: str | bool | None, bound: Address | None) -> Endpoint:
    """Return a record, with the label of the pages if it should have the label.

    Args:
        advertise: `ServerConfig.admin_advertise`.
        bound: the address of the pages, or None.
    """
    if bound is None or advertise is False or ADMIN in record.labels:
        return record
    shown = advertised_pages(advertise) if isinstance(advertise, str) else _shown(record, bound)
    if shown is None:
        return record
    if not shown.port:
        shown = Address(shown.scheme, host=shown.host, port=bound.port)
    return copied(record, labels={**record.labels, ADMIN: str(shown)})


def _shown(record: Endpoint, bound: Address) -> Address | None:
    """Return the bound address in a form that readers of the record can dial; None if they cannot dial it."""
    if bound.scheme not in _SCHEMES:
        return None
    if is_local(bound):
        return bound if is_local(record.address) else None
    if bound.host not in UNDIALABLE:
        return bound
    # The pages are bound to all interfaces. Use the host of the service, which is one of them.
    host = record.address.host
    is_on_machine = record.address.scheme in _SCHEMES and host not in UNDIALABLE
    return Address(bound.scheme, host=host, port=bound.port) if is_on_machine else None
