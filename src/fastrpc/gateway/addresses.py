"""The addresses of a gateway: http:// and https:// for the schemes that a server calls tcp:// and tls://."""

from collections.abc import Sequence
from typing import Final

from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError

__all__ = ["http_addresses", "http_url"]

#: For each scheme of HTTP, the scheme of an address to listen at.
_SCHEMES: Final = {"http": "tcp", "https": "tls"}
_NAMES: Final = {plain: scheme for scheme, plain in _SCHEMES.items()}


def http_addresses(texts: Sequence[str]) -> tuple[Address, ...]:
    """Return addresses of HTTP in the form of addresses to listen at.

    Raises:
        ConfigError: a text is not an address of HTTP.
    """
    found = []
    for text in texts:
        scheme, mark, rest = text.partition("://")
        known = _SCHEMES.get(scheme.lower())
        if not mark or known is None:
            raise ConfigError(
                f"{text} is not an address of HTTP",
                hint="write http://host:port, or https:// with --tls-cert",
            )
        found.append(Address.parse(f"{known}://{rest.rstrip('/')}"))
    return tuple(found)


def http_url(address: str) -> str:
    """Return a listening address in the form of an HTTP URL."""
    scheme, _, rest = address.partition("://")
    return f"{_NAMES[scheme]}://{rest}"
