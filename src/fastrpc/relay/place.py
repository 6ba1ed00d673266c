"""The address of a server behind a relay, with the options for its claim.

`relay://relay.example:8443/edge-7?token_file=FILE` accepts `token_file` for the token of the claim, `ca_file` for the
authorities of the relay's certificate, and `cert_file` with `key_file` for a certificate to show to the relay.
"""

from typing import Any, Final
from urllib.parse import parse_qsl

from fastrpc.auth.token_file import TokenFile
from fastrpc.config import TLS
from fastrpc.endpoint import Address, relayed_host, without_options
from fastrpc.errors import ConfigError

__all__ = ["RelayPlace"]

_TLS_OPTIONS: Final = ("ca_file", "cert_file", "key_file")
_OPTIONS: Final = ("token_file", *_TLS_OPTIONS)


class RelayPlace:
    """The address, parsed.

    Raises:
        ConfigError: the address names no server behind a relay, or an option is invalid.
    """

    def __init__(self, address: Address) -> None:
        path, _, text = address.path.partition("?")
        relayed_host(address)
        for mark, escape in (("?", "%3F"), ("#", "%23")):
            if mark in text:
                raise ConfigError(
                    f"{without_options(address)}: its options have a further {mark}",
                    hint=f"join them by &, and write {escape} for one in a path",
                )
        #: `name`: the name to claim. `relay`: the address of the relay. `address`: the address for clients.
        self.name = path.removeprefix("/")
        self.relay = Address("tls", host=address.host, port=address.port)
        self.address = Address("relay", host=address.host, port=address.port, path=path)
        options = self._read(text)
        token_file = options.pop("token_file", None)
        #: The token of the claim.
        self.credentials = None if token_file is None else TokenFile(token_file)
        self.tls = TLS(**options)

    def _read(self, text: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            if name not in _OPTIONS:
                raise ConfigError(
                    f"{self.address} has no option {name!r}", hint=f"there are {', '.join(_OPTIONS)}"
                )
            if name in found or not value:
                fault = "given twice" if name in found else "empty"
                raise ConfigError(
                    f"{self.address}: the option {name} is {fault}", hint=f"write {name}=FILE once"
                )
            found[name] = value
        return found
