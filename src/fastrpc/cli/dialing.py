"""The options of every command that dials: certificates and a token."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qsl, quote

import typer

from fastrpc.auth.token_file import TokenFile
from fastrpc.client.client import Client
from fastrpc.config import TLS, ClientConfig
from fastrpc.endpoint import Address, is_local
from fastrpc.errors import ConfigError
from fastrpc.registries.base.registry import WatchedRegistry
from fastrpc.registries.base.urls import open_registry
from fastrpc.rpc.token import checked_token

if TYPE_CHECKING:
    from fastrpc.brokers.broker import Broker
    from fastrpc.coordination.store import Store

__all__ = [
    "DIAL_OPTIONS",
    "TOKEN_VARIABLE",
    "Authorities",
    "Certificate",
    "Dialing",
    "Key",
    "ServerName",
    "TokenPath",
    "dialing",
    "is_http",
]

#: Holds a token where no file does. There is no option for it: other users of a machine see arguments.
TOKEN_VARIABLE = "FASTRPC_TOKEN"  # noqa: S105 (a name)

Authorities = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="Trusted authorities (PEM); the system's if left out."),
]
Certificate = Annotated[
    Path | None, typer.Option("--cert", metavar="FILE", help="A certificate to show to the server (PEM).")
]
Key = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="The key of --cert, if it does not lie in the same file."),
]
ServerName = Annotated[
    str | None,
    typer.Option(
        "--server-name", metavar="NAME", help="The name in the server's certificate, if it is not the host."
    ),
]
TokenPath = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="A file with the token to show to the server, and to a registry://, store:// or broker:// whose URL has "
        f"no token_file=. {TOKEN_VARIABLE} may hold the token instead.",
    ),
]

#: Names of these options, for values of a call that look like options.
DIAL_OPTIONS = ("--ca", "--cert", "--key", "--server-name", "--token-file")

#: The schemes of hosted services that take tokens from here.
_HOSTED = frozenset({"registry", "store", "broker"})


@dataclass(frozen=True, slots=True)
class Dialing:
    """The credentials that a command shows to servers."""

    config: ClientConfig
    #: The file with its token; None without a token, or if the environment holds it.
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

    def store(self, url: str) -> "Store":
        """Open a store.

        Raises:
            ConfigError: the URL or the token cannot be used.
        """
        _refuse_memory(url, "store")
        # Imported here: most commands have no store.
        from fastrpc.coordination.store import open_store

        return open_store(self.with_token(url), tls=self.config.tls)

    def broker(self, url: str) -> "Broker":
        """Open a broker.

        Raises:
            ConfigError: the URL or the token cannot be used.
        """
        _refuse_memory(url, "broker")
        # Imported here: most commands have no broker.
        from fastrpc.brokers.broker import open_broker

        return open_broker(self.with_token(url), tls=self.config.tls)

    def with_token(self, target: str) -> str:
        """Return a target; one of a hosted service with the token for that, unless it names one."""
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


def dialing(
    ca: Path | None, cert: Path | None, key: Path | None, server_name: str | None, token_path: Path | None
) -> Dialing:
    """Return the credentials of a command with these options.

    Raises:
        ConfigError: the key has no certificate, or the token cannot be used.
    """
    tls = None
    if any(given is not None for given in (ca, cert, key, server_name)):
        if key is not None and cert is None:
            raise ConfigError("--key is given without --cert", hint="a key belongs to a certificate")
        tls = TLS(cert_file=cert, key_file=key, ca_file=ca, server_name=server_name)
    config = ClientConfig(tls=tls)
    if token_path is not None:
        TokenFile(token_path)  # Reported before anything is dialled.
        return Dialing(config, token_path)
    return Dialing(config, token=_token_of_environment())


def is_http(address: str) -> bool:
    """Return whether an address is one of HTTP."""
    return address.lower().startswith(("http://", "https://"))


def _refuse_http(address: str) -> None:
    """Refuse an address of HTTP.

    Raises:
        ConfigError: it is one.
    """
    if is_http(address):
        scheme, _, place = address.partition("://")
        native = "tls" if scheme.lower() == "https" else "tcp"
        raise ConfigError(
            f"{address} is an address of HTTP, which only fastrpc call and fastrpc gateway take",
            hint=f"a server that speaks fastrpc's own protocol as well is at {native}://{place.rstrip('/')}",
        )


def _refuse_memory(url: str, name: str) -> None:
    """Refuse a backend in the memory of a command, which ends with it.

    Raises:
        ConfigError: it is one.
    """
    if url.lower().startswith("memory:"):
        raise ConfigError(
            f"{url} is a {name} in the memory of this command: nothing keeps what it has, and no other program sees it",
            hint=f"name a {name} that runs, such as `fastrpc {name}`",
        )


def _check_local(address: Address) -> None:
    if not is_local(address):
        secure = "grpcs" if address.scheme == "grpc" else "tls"
        raise ConfigError(
            f"the token would travel in the clear to {address}", hint=f"give an address that is {secure}://"
        )


def _token_of_environment() -> str | None:
    text = os.environ.get(TOKEN_VARIABLE, "").strip(" \t\r\n")
    if not text:
        return None
    try:
        return checked_token(text)
    except ConfigError as error:
        raise ConfigError(f"{TOKEN_VARIABLE}: {error.message}", hint=error.hint) from None
