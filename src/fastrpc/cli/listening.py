"""The options of commands that listen, for certificates, tokens, rules, processes, settings, logs and output."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from fastrpc.config import TLS
from fastrpc.endpoint import Address, is_encrypted, names_scopes
from fastrpc.errors import ConfigError

__all__ = [
    "AddressesAsJson",
    "AdminAddress",
    "AdminToken",
    "ClientAuthorities",
    "ConfigFile",
    "LogFormatName",
    "LogLevelName",
    "PolicyFile",
    "ServerCertificate",
    "ServerKey",
    "TokensFile",
    "Workers",
    "address_option",
    "check_encrypts",
    "checked_format",
    "checked_level",
    "server_tls",
    "tls_settings",
]

ServerCertificate = Annotated[
    Path | None,
    typer.Option("--tls-cert", metavar="FILE", help="The certificate for an address tls:// (PEM)."),
]
ServerKey = Annotated[
    Path | None,
    typer.Option("--tls-key", metavar="FILE", help="Its key, if it is not in the same file."),
]
ClientAuthorities = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca", metavar="FILE", help="The authorities of clients, which then need certificates."
    ),
]
TokensFile = Annotated[
    Path | None,
    typer.Option(
        "--tokens", metavar="FILE", help="The tokens of callers (TOML); each call then needs one of them."
    ),
]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="The rules of access (TOML).")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-w", min=1, metavar="N", help="Processes that share the work. [default: 1]"),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A TOML file with settings.")
]
LogLevelName = Annotated[
    str | None,
    typer.Option(
        "--log-level", metavar="LEVEL", help="debug, info, warning, error or critical. [default: info]"
    ),
]
LogFormatName = Annotated[
    str | None,
    typer.Option(
        "--log-format", metavar="FORMAT", help="text, or json for an object a line. [default: text]"
    ),
]
AdminAddress = Annotated[
    str | None, typer.Option("--admin-address", metavar="ADDRESS", help="Serve the admin pages here.")
]
AdminToken = Annotated[
    Path | None,
    typer.Option("--admin-token", metavar="FILE", help="The token that the admin pages then require."),
]
AdminOperators = Annotated[
    Path | None,
    typer.Option("--admin-operators", metavar="FILE", help="The tokens of those who may act there (TOML)."),
]
AddressesAsJson = Annotated[bool, typer.Option("--json", help="Print the addresses as one line of JSON.")]


def address_option(default: str) -> Any:
    """Return the option `--address` of a command whose default address is `default`."""
    return typer.Option(
        "--address",
        "-a",
        metavar="ADDRESS",
        help=f"Where to listen; may be repeated. [default: {default}]",
    )


def tls_settings(cert: Path | None, key: Path | None, ca: Path | None) -> dict[str, Any]:
    """Return the settings for `--tls-cert`, `--tls-key` and `--tls-ca`; None for a missing option."""
    return {
        "tls.cert_file": cert and str(cert),
        "tls.key_file": key and str(key),
        "tls.ca_file": ca and str(ca),
        "tls.require_client_cert": True if ca is not None else None,
    }


def check_encrypts(given: Mapping[str, Any], addresses: Sequence[Address], encrypted: str = "tls") -> None:
    """Refuse options and settings of TLS if no address can be encrypted.

    Args:
        encrypted: the scheme of encrypted addresses in this command.

    Raises:
        ConfigError: an option is given, and no address is `tls://`, `relay://`, `fd://`, or `any://` with a network.
    """
    names = [name for name, file in given.items() if file not in (None, False, ())]
    if names and not any(map(_may_encrypt, addresses)):
        raise ConfigError(
            f"{names[0]} encrypts nothing: no address is {encrypted}://",
            hint=f"listen at one: --address {encrypted}://host:port",
        )


def _may_encrypt(address: Address) -> bool:
    """Return whether connections at an address are encrypted if the server has certificates."""
    if names_scopes(address):
        # Imported on first use: most servers have one address.
        from fastrpc.registries.base.scoped import open_scopes

        with closing(open_scopes(address, None, None)) as scopes:
            return scopes.encrypts
    # An inherited socket is encrypted if there are certificates.
    return is_encrypted(address) or address.scheme == "fd"


def server_tls(cert: Path | None, key: Path | None, ca: Path | None) -> TLS | None:
    """Return the certificates of a server with the options `--tls-cert`, `--tls-key`, `--tls-ca`; None without them.

    Raises:
        ConfigError: a key or authorities are given without a certificate.
    """
    if cert is None:
        if key is not None or ca is not None:
            raise ConfigError("--tls-cert is missing", hint="a server with TLS shows a certificate")
        return None
    return TLS(cert_file=cert, key_file=key, ca_file=ca, require_client_cert=ca is not None)


def checked_level(level: str | None) -> Any:
    """Return a log level in lower case after checking it; None stays None."""
    levels = ("debug", "info", "warning", "error", "critical")
    if level is None or level.lower() in levels:
        return level and level.lower()
    raise ConfigError(f"there is no log level {level!r}", hint=f"there are {', '.join(levels)}")


def checked_format(log_format: str | None) -> Any:
    """Return a log format in lower case after checking it; None stays None."""
    formats = ("text", "json")
    if log_format is None or log_format.lower() in formats:
        return log_format and log_format.lower()
    raise ConfigError(f"there is no log format {log_format!r}", hint=f"there are {', '.join(formats)}")
