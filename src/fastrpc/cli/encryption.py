"""The options of TLS: of every command that dials, and of those that listen."""

from pathlib import Path
from typing import Annotated

import typer

from fastrpc.config import TLS, ClientConfig
from fastrpc.errors import ConfigError

__all__ = [
    "TLS_OPTIONS",
    "Authorities",
    "Certificate",
    "ClientAuthorities",
    "Key",
    "ServerCertificate",
    "ServerKey",
    "ServerName",
    "client_config",
    "server_tls",
]

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

ServerCertificate = Annotated[
    Path | None,
    typer.Option("--tls-cert", metavar="FILE", help="The certificate for an address tls:// (PEM)."),
]
ServerKey = Annotated[
    Path | None,
    typer.Option("--tls-key", metavar="FILE", help="Its key, if it does not lie in the same file."),
]
ClientAuthorities = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca", metavar="FILE", help="The authorities of clients, which then need certificates."
    ),
]

#: Names of the options of a client, for values of a call that look like options.
TLS_OPTIONS = ("--ca", "--cert", "--key", "--server-name")


def client_config(
    ca: Path | None, cert: Path | None, key: Path | None, server_name: str | None
) -> ClientConfig:
    """Return the settings of a client with these options.

    Raises:
        ConfigError: the key has no certificate.
    """
    tls = None
    if any(given is not None for given in (ca, cert, key, server_name)):
        if key is not None and cert is None:
            raise ConfigError("--key is given without --cert", hint="a key belongs to a certificate")
        tls = TLS(cert_file=cert, key_file=key, ca_file=ca, server_name=server_name)
    return ClientConfig(tls=tls)


def server_tls(cert: Path | None, key: Path | None, ca: Path | None) -> TLS | None:
    """Return the certificates of a server with the options `--tls-cert`, `--tls-key`, `--tls-ca`; None without them.

    Raises:
        ConfigError: there is a key, or are authorities, without a certificate.
    """
    if cert is None:
        if key is not None or ca is not None:
            raise ConfigError("--tls-cert is missing", hint="a server with TLS shows a certificate")
        return None
    return TLS(cert_file=cert, key_file=key, ca_file=ca, require_client_cert=ca is not None)
