"""The credentials that a command, a gateway or a console sends to servers and registries."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote

from fastrpc.auth.token_file import TokenFile
from fastrpc.client.client import Client
from fastrpc.config import ClientConfig
from fastrpc.endpoint import Address, is_local
from fastrpc.errors import ConfigError
from fastrpc.registries.base.registry import WatchedRegistry
from fastrpc.registries.base.urls import open_registry

__all__ = ["Dialing", "is_http"]

#: The schemes of hosted services. Their URLs may get the token of a `Dialing`.
_HOSTED: Final = frozenset({"registry", "store", "broker"})


@dataclass(frozen=True, slots=True)
class Dialing:
    """The credentials that are sent to servers."""

    config: ClientConfig
    #: The file with the token; None without a token, or if `token` is the text.
    token_path: Path | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def shows_identity(self) -> bool:
        """Whether a server may learn the identity of its caller: by a token, or by a certificate."""
        has_certificate = self.config.tls is not None and self.config.tls.cert_file is not None
        return has_certificate or self.token_path is not None or self.token is not None

    def client(self, target: str) -> Client:
        """Return a client of a server, or of a service in a registry.

        Raises:
            ConfigError: the target or the token cannot be used.
        """
        _refuse_http(target)
        credentials = self.token if self.token_path is None else TokenFile(self.token_path)
        if credentials is not None and target.lower().startswith(("tcp://", "grpc://")):
            _check_local(Address.parse(target))
        return Client(self.with_token(target), credentials=credentials, config=self.config)

    def registry(self, *urls: str) -> WatchedRegistry:
        """Open a registry, or several as one.

        Raises:
            ConfigError: a URL or the token cannot be used.
        """
        places = [self.with_token(url) for url in urls]
        return open_registry(places[0] if len(places) == 1 else places, tls=self.config.tls)

    def with_token(self, target: str) -> str:
        """Return a target; for a hosted service, with the token unless the target names one."""
        place, _, options = target.partition("?")
        names = {name for name, _ in parse_qsl(options, keep_blank_values=True)}
        if place.partition("://")[0].lower() not in _HOSTED or names & {"token", "token_file"}:
            return target
        if self.token_path is not None:
            option = f"token_file={quote(str(self.token_path), safe='')}"
        elif self.token is not None:
            option = f"token={quote(self.token, safe='')}"
        else:
            return target
        return f"{place}?{options}&{option}" if options else f"{place}?{option}"


def is_http(address: str) -> bool:
    """Return whether an address is one of HTTP."""
    return address.lower().startswith(("http://", "https://"))


def _refuse_http(address: str) -> None:
    """Refuse an address of HTTP.

    Raises:
        ConfigError: it is an address of HTTP.
    """
    if is_http(address):
        scheme, _, place = address.partition("://")
        native = "tls" if scheme.lower() == "https" else "tcp"
        raise ConfigError(
            f"{address} is an address of HTTP, which only fastrpc call and fastrpc gateway take",
            hint=f"a server that speaks fastrpc's own protocol as well is at {native}://{place.rstrip('/')}",
        )


def _check_local(address: Address) -> None:
    if not is_local(address):
        secure = "grpcs" if address.scheme == "grpc" else "tls"
        raise ConfigError(
            f"the token would travel in the clear to {address}", hint=f"give an address that is {secure}://"
        )
