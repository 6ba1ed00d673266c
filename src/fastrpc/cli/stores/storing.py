"""`fastrpc store`: a store of keys as a program of its own, and copies of it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from fastrpc.cli.calling.command import run_async
from fastrpc.cli.dialing import Authorities, Certificate, Key, ServerName, TokenPath, dialing
from fastrpc.cli.hosted import HostedAccess, HostedOptions, HostedParts, ending_with, serve_hosted
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
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import reported
from fastrpc.coordination.deimos.port import DeimosPort, address_of
from fastrpc.coordination.remote.client import RemoteStore, open_remote
from fastrpc.coordination.remote.server import DEFAULT_STORE_ADDRESS
from fastrpc.coordination.remote.service import MOST_BYTES, StoreService, store_config
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.server.admin.opening import check_admin
from fastrpc.server.server import Server
from fastrpc.stores.sqlite import StoreCopy, check_folder, copy_folder, restore_copy
from fastrpc.workers.plan import ExitCode
from fastrpc.workers.serve import addresses_of

__all__ = ["backup", "check", "restore", "run_store", "store"]

store = typer.Typer(
    help="A store of keys, for programs with store://host:port.",
    invoke_without_command=True,
    rich_markup_mode="markdown",
)

_Sync = Literal["full", "normal"]

Folder = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", help="The folder of the store.", file_okay=False, show_default=False),
]

Addresses = Annotated[list[str] | None, address_option(DEFAULT_STORE_ADDRESS)]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="FOLDER", help="Keep the items in this folder across restarts.", file_okay=False
    ),
]
Sync = Annotated[
    str | None,
    typer.Option(
        "--sync", help="full: keep them across a power loss; normal: across a crash only. [default: full]"
    ),
]
AdminAddress = Annotated[
    str | None,
    typer.Option("--admin-address", metavar="ADDRESS", help="Serve the admin pages here, /store among them."),
]
AdminToken = Annotated[
    Path | None,
    typer.Option("--admin-token", metavar="FILE", help="The token that the admin pages then require."),
]
MaxBytes = Annotated[
    int, typer.Option("--max-bytes", help="Bytes of all keys and values; more are refused.", min=1)
]
DeimosAddress = Annotated[
    str | None,
    typer.Option(
        "--deimos",
        metavar="URL",
        help="Also speak the dialect of Deimos there, such as http://127.0.0.1:4001.",
    ),
]


@store.callback(epilog="Example: fastrpc store --data-dir /var/lib/fastrpc-store")
def run_store(
    context: typer.Context,
    address: Addresses = None,
    data_dir: DataFolder = None,
    sync: Sync = None,
    max_bytes: MaxBytes = MOST_BYTES,
    deimos: DeimosAddress = None,
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
    """Run a store of keys, with watches and leases, for programs with store://host:port.

    Without --data-dir the items are in memory only.

    With --tokens every client needs one: store://host:port?token_file=FILE. With --policy it also needs a right: rules
    have the keys read_keys = ["shop/**"] and write_keys.
    """
    if context.invoked_subcommand is not None:
        return
    options = HostedOptions(
        address or [DEFAULT_STORE_ADDRESS],
        tls_cert,
        tls_key,
        tls_ca,
        tokens,
        policy,
        log_level,
        as_json,
        partial(_further, admin_address, deimos),
    )
    with reported(ExitCode.USAGE):
        if sync is not None and data_dir is None:
            raise ConfigError(
                "--sync has no effect without --data-dir: the items are in memory only",
                hint="give --data-dir FOLDER, or leave --sync out",
            )
    service = partial(StoreService, data_dir, sync=cast(_Sync, sync or "full"), most_bytes=max_bytes)
    admin = {"admin_address": admin_address, "admin_token": admin_token}
    serve_hosted("store", options, partial(_prepared, service, admin, deimos))


def _prepared(
    make: Callable[..., StoreService], admin: dict[str, Any], deimos: str | None, access: HostedAccess
) -> HostedParts:
    """Return the service, its settings, and Deimos's port."""
    service = make(rights=access.rights)
    config = replace(store_config(access.tls), **admin)
    port = None if deimos is None else DeimosPort(service, deimos, config.tls, access.authenticate)
    check_admin(config, has_registry=False)
    return HostedParts(
        lambda: service,
        config,
        beside=partial(_beside, service, port),
        on_reload=(lambda: None) if port is None else port.reload,
        failure=lambda: service.failure,
        further_urls=lambda: {} if port is None else {"deimos": port.url},
    )


def _further(admin_address: str | None, deimos: str | None) -> Iterator[Address]:
    """Yield the addresses beside those of the service."""
    if admin_address is not None:
        yield from addresses_of(admin_address)
    if deimos is not None:
        yield address_of(deimos)


@asynccontextmanager
async def _beside(service: StoreService, port: DeimosPort | None, server: Server) -> AsyncIterator[None]:
    """Serve Deimos's port, if there is one; drain the server once the store has ended."""
    async with ending_with(service.failed, server), port or nullcontext():
        yield


@store.command("backup", epilog="Example: fastrpc store backup store://127.0.0.1:8969 may.store")
def backup(
    source: Annotated[
        str,
        typer.Argument(metavar="STORE|FOLDER", help="store://host:port, or a folder that no store holds."),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; it must not exist.")],
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
) -> None:
    """Copy all items and leases of one moment into a file; a store goes on meanwhile."""
    with reported(ExitCode.USAGE):
        dial = dialing(ca, cert, key, server_name, token_file)
        remote = (
            open_remote(RegistryURL(dial.with_token(source), dial.config.tls))
            if source.startswith("store://")
            else None
        )
        if remote is None and "://" in source:
            raise ConfigError(
                f"{source.partition('://')[0]}:// has a backup of its own", hint="use its tools"
            )
    with reported(ExitCode.FAILED):
        count = copy_folder(Path(source), file) if remote is None else run_async(_copy(remote, file))
    stdout.print(f"{file}: {count} items")


async def _copy(remote: RemoteStore, file: Path) -> int:
    count = 0
    with StoreCopy(file) as copy:
        async with remote:
            async for part in remote.backup():
                copy.add(part.items, part.leases, part.revision)
                count += len(part.items)
    return count


@store.command("restore", epilog="Example: fastrpc store restore may.store /var/lib/fastrpc-store")
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.", exists=True, dir_okay=False)],
    folder: Folder,
) -> None:
    """Make a store in a new folder from a backup.

    Its revision comes from the clock, so no token of a lock comes twice; watchers list their keys again.
    """
    with reported(ExitCode.FAILED):
        count = restore_copy(file, folder)
    stdout.print(f"{folder}: {count} items")


@store.command("check", epilog="Example: fastrpc store check /var/lib/fastrpc-store")
def check(folder: Folder) -> None:
    """Check the file of a store that no process holds; exit code 1 if it is damaged."""
    with reported(ExitCode.FAILED):
        found = check_folder(folder)
    stdout.print(f"{folder}: {len(found.items)} items, {len(found.leases)} leases, revision {found.revision}")
