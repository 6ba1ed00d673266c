"""`fastrpc store`: a key-value store as a program, and copies of it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fastrpc.cli.calling.command import run_async
from fastrpc.cli.dial_options import Authorities, Certificate, Key, ServerName, TokenPath, dialing
from fastrpc.cli.hosted import HostedAccess, HostedParts, serve_hosted
from fastrpc.cli.hosted_options import (
    HostedOptions,
    Sync,
    checked_sync,
    data_folder_option,
    with_hosted_options,
)
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import reported
from fastrpc.coordination.deimos.port import DeimosPort, address_of
from fastrpc.coordination.remote.client import RemoteStore, open_remote
from fastrpc.coordination.remote.server import DEFAULT_STORE_ADDRESS
from fastrpc.coordination.remote.service import MOST_BYTES, StoreService, store_config
from fastrpc.errors import ConfigError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.stores.sqlite import StoreCopy, check_folder, copy_folder, restore_copy
from fastrpc.workers.plan import ExitCode

__all__ = ["backup", "check", "restore", "run_store", "store"]

store = typer.Typer(
    help="A store of keys, for programs with store://host:port.",
    invoke_without_command=True,
    rich_markup_mode="markdown",
)

Folder = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", help="The folder of the store.", file_okay=False, show_default=False),
]

DataFolder = Annotated[Path | None, data_folder_option("the items")]
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
@with_hosted_options(DEFAULT_STORE_ADDRESS)
def run_store(
    context: typer.Context,
    hosted: HostedOptions,
    data_dir: DataFolder = None,
    sync: Sync = None,
    max_bytes: MaxBytes = MOST_BYTES,
    deimos: DeimosAddress = None,
) -> None:
    """Run a store of keys, with watches and leases, for programs with store://host:port.

    Without --data-dir the items are in memory only.

    With --tokens every client needs one: store://host:port?token_file=FILE. With --policy it also needs a right: rules
    have the keys read_keys = ["shop/**"] and write_keys.
    """
    if context.invoked_subcommand is not None:
        return
    with reported(ExitCode.USAGE):
        kept = checked_sync(sync, data_dir, "the items")
    make = partial(StoreService, data_dir, sync=kept, most_bytes=max_bytes)
    serve_hosted(
        "store",
        hosted,
        partial(_prepared, make, deimos),
        further=lambda: () if deimos is None else (address_of(deimos),),
    )


def _prepared(make: Callable[..., StoreService], deimos: str | None, access: HostedAccess) -> HostedParts:
    """Return the service, its settings, and Deimos's port."""
    service, config = make(rights=access.rights), store_config(access.tls)
    if deimos is None:
        return HostedParts(lambda: service, config, ending=service)
    port = DeimosPort(service, deimos, config.tls, access.authenticate)
    return HostedParts(
        lambda: service,
        config,
        beside=lambda _: port,
        on_reload=port.reload,
        ending=service,
        further_urls=lambda: {"deimos": port.url},
    )


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
    """Copy all items and leases of one moment into a file; a running store continues meanwhile."""
    with reported(ExitCode.USAGE):
        dial = dialing(ca, cert, key, server_name, token_file)
        remote = (
            open_remote(RegistryURL(dial.with_token(source), dial.config.tls))
            if source.startswith("store://")
            else None
        )
        if remote is None and "://" in source:
            raise ConfigError(f"{source.partition('://')[0]}:// has its own backup", hint="use its tools")
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

    The revision is taken from the clock, so no lock token is repeated; watchers list their keys again.
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
