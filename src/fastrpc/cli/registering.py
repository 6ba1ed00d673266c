"""`fastrpc registry`: the embedded registry as a program of its own."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fastrpc.cli.hosted import HostedOptions, HostedParts, serve_hosted
from fastrpc.cli.listening import (
    AddressesAsJson,
    ClientAuthorities,
    LogLevelName,
    PolicyFile,
    ServerCertificate,
    ServerKey,
    TokensFile,
    address_option,
)
from fastrpc.config import ServerConfig
from fastrpc.coordination.registry.server import DEFAULT_REGISTRY_ADDRESS
from fastrpc.coordination.registry.service import RegistryService
from fastrpc.stores.memory import MOST_BYTES

__all__ = ["registry"]

Addresses = Annotated[list[str] | None, address_option(DEFAULT_REGISTRY_ADDRESS)]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        help="Keep the registrations in this folder across restarts.",
        file_okay=False,
    ),
]
RecordsBytes = Annotated[
    int, typer.Option("--records-bytes", help="Bytes of all records together; more are refused.", min=1)
]


def registry(
    address: Addresses = None,
    data_dir: DataFolder = None,
    records_bytes: RecordsBytes = MOST_BYTES,
    tls_cert: ServerCertificate = None,
    tls_key: ServerKey = None,
    tls_ca: ClientAuthorities = None,
    tokens: TokensFile = None,
    policy: PolicyFile = None,
    log_level: LogLevelName = None,
    as_json: AddressesAsJson = False,
) -> None:
    """Run a registry of services and their endpoints, for servers and clients with registry://host:port.

    A server that does not renew its lease for some seconds is dropped; watchers get each change at once.

    With --tokens every server and client needs one: registry://host:port?token_file=FILE. With --policy they also need
    a right: rules have the keys register = ["shop.*"] and read = ["**"].
    """
    options = HostedOptions(
        address or [DEFAULT_REGISTRY_ADDRESS], tls_cert, tls_key, tls_ca, tokens, policy, log_level, as_json
    )
    serve_hosted(
        "registry",
        options,
        lambda access: HostedParts(
            partial(RegistryService, data_dir, records_bytes=records_bytes, rights=access.rights),
            ServerConfig(tls=access.tls),
        ),
    )
