"""`fastrpc registry`: the embedded registry as a program of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fastrpc.auth.policy import Policy
from fastrpc.auth.static_tokens import StaticTokens
from fastrpc.cli.listening import (
    AddressesAsJson,
    ClientAuthorities,
    LogLevelName,
    PolicyFile,
    ServerCertificate,
    ServerKey,
    TokensFile,
    check_encrypts,
    checked_level,
    server_tls,
)
from fastrpc.cli.log_output import install_logging
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import print_json, reported
from fastrpc.cli.serving import run_reported
from fastrpc.cli.settings import LogLevel, RunSettings
from fastrpc.config import ServerConfig
from fastrpc.coordination.registry_server import DEFAULT_REGISTRY_ADDRESS, registry_rights, registry_url
from fastrpc.coordination.registry_service import RegistryService
from fastrpc.errors import ConfigError
from fastrpc.stores.memory import MOST_BYTES
from fastrpc.workers.plan import ExitCode, Plan, Started
from fastrpc.workers.serve import addresses_of
from fastrpc.workers.serve import run as run_plan

__all__ = ["registry"]


Addresses = Annotated[
    list[str] | None,
    typer.Option(
        "--address",
        "-a",
        metavar="ADDRESS",
        help=f"Where to listen; may be repeated. [default: {DEFAULT_REGISTRY_ADDRESS}]",
    ),
]
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
    with reported(ExitCode.USAGE):
        level: LogLevel = checked_level(log_level) or "info"
        addresses = addresses_of(address or [DEFAULT_REGISTRY_ADDRESS])
        check_encrypts({"--tls-cert": tls_cert, "--tls-key": tls_key, "--tls-ca": tls_ca}, addresses)
        if policy is not None and tokens is None:
            raise ConfigError(
                "--policy is given without --tokens: no caller would have a right", hint="give --tokens FILE"
            )
        authenticate = None if tokens is None else StaticTokens.from_file(tokens)
        rights = registry_rights(authenticate, None if policy is None else Policy.from_file(policy))
        plan = Plan(
            load=lambda: [RegistryService(data_dir, records_bytes=records_bytes, rights=rights)],
            addresses=addresses,
            config=ServerConfig(tls=server_tls(tls_cert, tls_key, tls_ca)),
            authenticate=authenticate,
            authorize=rights,
            on_started=_teller(as_json=as_json),
        )
    texts = tuple(str(one) for one in addresses)
    settings = RunSettings(app=None, addresses=texts, workers=1, log_level=level, config=ServerConfig())
    install_logging(level, is_demanded=True)
    raise typer.Exit(run_reported(lambda: run_plan(plan), settings))


def _teller(*, as_json: bool) -> Callable[[Started], None]:
    def tell(started: Started) -> None:
        urls = [registry_url(one) for one in addresses_of(started.addresses)]
        if as_json:
            print_json({"urls": urls, "process_ids": started.process_ids})
            return
        for url in urls:
            stdout.print("registry at ", (url, "bold"))

    return tell
