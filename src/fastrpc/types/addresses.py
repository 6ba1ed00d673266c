"""IP addresses, networks and interfaces are sent as text."""

import ipaddress
from collections.abc import Callable
from typing import Any

from fastrpc.types.base import Inner, PayloadType

__all__ = ["payload_type"]

_CLASSES = frozenset(
    {
        ipaddress.IPv4Address,
        ipaddress.IPv4Interface,
        ipaddress.IPv4Network,
        ipaddress.IPv6Address,
        ipaddress.IPv6Interface,
        ipaddress.IPv6Network,
    }
)

#: The formats of JSON Schema, which has no format for networks and interfaces.
_FORMATS = {ipaddress.IPv4Address: "ipv4", ipaddress.IPv6Address: "ipv6"}

#: Longest text of an address with prefix and zone. It is checked first, because the classes split a text before they
#: refuse it.
LONGEST_TEXT = 256


def payload_type(cls: type[Any]) -> PayloadType | None:
    """Return the payload type of a class of `ipaddress`."""
    return _ADDRESS if cls in _CLASSES else None


def _encode(address: object, codec: str) -> str:
    return str(address)


def _decoder(annotation: Any, inner: Inner) -> Callable[[Any], Any]:
    name = annotation.__name__

    def convert(plain: Any) -> Any:
        # The classes would also accept numbers and packed bytes.
        if not isinstance(plain, str):
            raise ValueError(f"Expected `{name}` as text, got `{type(plain).__name__}`")
        if len(plain) > LONGEST_TEXT:
            raise ValueError(f"Expected `{name}`, got a text of {len(plain)} characters")
        try:
            return annotation(plain)
        except ValueError as error:
            raise ValueError(f"Expected `{name}`: {error}") from None

    return convert


def _schema(annotation: Any) -> dict[str, Any]:
    form = _FORMATS.get(annotation)
    return {"type": "string"} if form is None else {"type": "string", "format": form}


_ADDRESS = PayloadType(_encode, _decoder, schema=_schema)
