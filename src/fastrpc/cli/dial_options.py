"""The options of every command that dials: certificates and a token."""

import os
from pathlib import Path
from typing import Annotated

import typer

from fastrpc.auth.token_file import TokenFile
from fastrpc.config import TLS, ClientConfig
from fastrpc.errors import ConfigError
from fastrpc.gateway.dialing import Dialing
from fastrpc.rpc.token import checked_token

__all__ = [
    "DIAL_OPTIONS",
    "TOKEN_VARIABLE",
    "Authorities",
    "Certificate",
    "Key",
    "ServerName",
    "TokenPath",
    "dialing",
]

#: The environment variable for a token if no token file is given. No option takes the token itself: other users of a
#: machine can see arguments.
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
    typer.Option("--key", metavar="FILE", help="The key of --cert, if it is not in the same file."),
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

#: The names of the dial options, to recognize them among the values of a call.
DIAL_OPTIONS = ("--ca", "--cert", "--key", "--server-name", "--token-file")


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
        TokenFile(token_path)  # The file is checked before anything is dialled.
        return Dialing(config, token_path)
    return Dialing(config, token=_token_of_environment())


def _token_of_environment() -> str | None:
    text = os.environ.get(TOKEN_VARIABLE, "").strip(" \t\r\n")
    if not text:
        return None
    try:
        return checked_token(text)
    except ConfigError as error:
        raise ConfigError(f"{TOKEN_VARIABLE}: {error.message}", hint=error.hint) from None
