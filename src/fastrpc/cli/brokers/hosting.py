"""`fastrpc broker`: a broker of messages as a separate program."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from fastrpc.brokers.remote.server import DEFAULT_BROKER_ADDRESS
from fastrpc.brokers.remote.service import BrokerService, broker_config
from fastrpc.cli.hosted import HostedAccess, HostedOptions, HostedParts, ending_with, serve_hosted
from fastrpc.cli.listening import (
    AddressesAsJson,
    AdminAddress,
    AdminToken,
    ClientAuthorities,
    LogLevelName,
    PolicyFile,
    ServerCertificate,
    ServerKey,
    TokensFile,
    address_option,
)
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import counted, print_warning, reported
from fastrpc.errors import ConfigError
from fastrpc.server.admin.opening import check_admin
from fastrpc.server.server import Server
from fastrpc.workers.plan import ExitCode
from fastrpc.workers.serve import addresses_of

__all__ = ["broker", "copy", "run_broker"]

broker = typer.Typer(
    help="A broker of messages, for programs with broker://host:port.",
    invoke_without_command=True,
    rich_markup_mode="markdown",
)

_Sync = Literal["full", "normal"]

Addresses = Annotated[list[str] | None, address_option(DEFAULT_BROKER_ADDRESS)]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="FOLDER", help="Keep messages in this folder across restarts.", file_okay=False
    ),
]
Sync = Annotated[
    str | None,
    typer.Option(
        "--sync", help="full: keep them across a power loss; normal: across a crash only. [default: full]"
    ),
]


@broker.callback(epilog="Example: fastrpc broker --data-dir /var/lib/fastrpc-broker")
def run_broker(
    context: typer.Context,
    address: Addresses = None,
    data_dir: DataFolder = None,
    sync: Sync = None,
    tls_cert: ServerCertificate = None,
    tls_key: ServerKey = None,
    tls_ca: ClientAuthorities = None,
    tokens: TokensFile = None,
    policy: PolicyFile = None,
    admin_address: AdminAddress = None,
    admin_token: AdminToken = None,
    log_level: LogLevelName = None,
    as_json: AddressesAsJson = False,
) -> None:
    """Run a broker of messages, for programs with broker://host:port.

    Without --data-dir messages are in memory only, and end with the program.

    With --tokens every client needs one: broker://host:port?token_file=FILE. With --policy it also needs a right: rules
    have the keys publish = ["orders.**"], subscribe, groups = ["billing.*"] and manage.
    """
    if context.invoked_subcommand is not None:
        return
    further = [] if admin_address is None else addresses_of(admin_address)
    options = HostedOptions(
        address or [DEFAULT_BROKER_ADDRESS],
        tls_cert,
        tls_key,
        tls_ca,
        tokens,
        policy,
        log_level,
        as_json,
        lambda: further,
    )
    with reported(ExitCode.USAGE):
        if sync is not None and data_dir is None:
            raise ConfigError(
                "--sync has no effect without --data-dir: messages are in memory only",
                hint="give --data-dir FOLDER, or leave --sync out",
            )
    if data_dir is None:
        print_warning("messages are in memory only, and end with this program; --data-dir FOLDER keeps them")
    make = partial(BrokerService, data_dir, sync=cast(_Sync, sync or "full"))
    admin = {"admin_address": admin_address, "admin_token": admin_token}
    serve_hosted("broker", options, partial(_prepared, make, admin))


@broker.command(
    "copy", epilog="Example: fastrpc broker copy /var/lib/fastrpc-broker /var/lib/fastrpc-broker-2"
)
def copy(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="A folder that no broker holds.", file_okay=False),
    ],
    new: Annotated[
        Path, typer.Argument(metavar="NEW", help="A new folder; it must not exist.", file_okay=False)
    ],
) -> None:
    """Copy all that is readable into a new folder: a backup of a stopped broker, a repair, a compaction.

    Exit code 1 if rows are damaged; the copy is made without them.
    """
    with reported(ExitCode.FAILED):
        # Imported here: a broker in memory needs no SQLite.
        from fastrpc.brokers.sqlite.copying import copy_broker

        found = copy_broker(folder, new)
    stdout.print(
        f"{new}: {counted(found.topics, 'topic')}, {counted(found.groups, 'group')}, "
        f"{counted(found.messages, 'message')}, {counted(found.dead, 'dead letter')}"
    )
    if found.damaged:
        print_warning(
            f"{counted(found.damaged, 'row')} of {folder} could not be read, and the copy lacks them"
        )
        raise typer.Exit(ExitCode.FAILED)


def _prepared(make: Callable[..., BrokerService], admin: dict[str, Any], access: HostedAccess) -> HostedParts:
    service = make(rights=access.rights)
    config = replace(broker_config(access.tls), **admin)
    check_admin(config, has_registry=False)
    return HostedParts(
        lambda: service, config, beside=partial(_beside, service), failure=lambda: service.failure
    )


@asynccontextmanager
async def _beside(service: BrokerService, server: Server) -> AsyncIterator[None]:
    """Drain the server once the broker has ended."""
    async with ending_with(service.failed, server):
        yield
