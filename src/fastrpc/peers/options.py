"""The checks of the options of `with_options`."""

from collections.abc import Mapping
from typing import Any

from fastrpc.codecs.base import codec_named
from fastrpc.compressors.base import compressor_named
from fastrpc.config.validation import check_timeout
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError
from fastrpc.rpc.options import OPTION_NAMES, with_checked_kinds

__all__ = ["address_of", "checked_options"]


def address_of(place: Any) -> Address:
    """Return the address of an Endpoint, an Address or a text."""
    return (place.address if isinstance(place, Endpoint) else Address.parse(place)).dialed()


def _preferred(place: Any) -> str:
    """Return the name of a preferred endpoint. It is only compared with other names, so any text is allowed."""
    if not isinstance(place, str | Address | Endpoint):
        raise ConfigError(f"prefer is {place!r}, it must be an Endpoint, an Address or a text, or None")
    try:
        return address_of(place).place
    except ConfigError:
        return str(place)


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of a view, and replace names by the objects that they name."""
    unknown = options.keys() - OPTION_NAMES
    if unknown:
        raise TypeError(
            f"with_options() has no option {', '.join(sorted(unknown))}; there are {', '.join(sorted(OPTION_NAMES))}"
        )
    checked = with_checked_kinds(options)
    check_timeout(checked.get("timeout"), zero=True)
    if checked.get("compressor") is not None:
        checked["compressor"] = compressor_named(checked["compressor"])
    if checked.get("codec") is not None:
        codec_named(checked["codec"])
    if checked.get("endpoint") is not None:
        checked["endpoint"] = address_of(checked["endpoint"])
    if checked.get("prefer") is not None:
        checked["prefer"] = _preferred(checked["prefer"])
    for name, nothing in (("priority", 0), ("wait_for_ready", False)):
        if name in checked and checked[name] is None:
            checked[name] = nothing
    if type(checked.get("priority", 0)) is not int or checked.get("priority", 0) not in (0, 1, 2):
        raise ConfigError(
            f"priority is {checked['priority']!r}, it must be 0 (normal), 1 (sheddable) or 2 (high)"
        )
    return checked
