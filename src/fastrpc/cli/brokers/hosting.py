"""`fastrpc broker`: a broker of messages as a separate program."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fastrpc.brokers.remote.server import DEFAULT_BROKER_ADDRESS
from fastrpc.brokers.remote.service import BrokerService, broker_config
from fastrpc.cli.hosted import HostedAccess, HostedParts, serve_hosted
from fastrpc.cli.hosted_options import (
    HostedOptions,
    Sync,
    checked_sync,
    data_folder_option,
    with_hosted_options,
)
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import counted, print_warning, reported
from fastrpc.workers.plan import ExitCode

__all__ = ["broker", "copy", "run_broker"]

broker = typer.Typer(
    help="A broker of messages, for programs with broker://host:port.",
    invoke_without_command=True,
    rich_markup_mode="markdown",
)

DataFolder = Annotated[Path | None, data_folder_option("messages")]


@broker.callback(epilog="Example: fastrpc broker --data-dir /var/lib/fastrpc-broker")
@with_hosted_options(DEFAULT_BROKER_ADDRESS)
def run_broker(
    context: typer.Context, hosted: HostedOptions, data_dir: DataFolder = None, sync: Sync = None
) -> None:
    """Run a broker of messages, for programs with broker://host:port.

    Without --data-dir messages are in memory only, and are lost when the program ends.

    With --tokens every client needs one: broker://host:port?token_file=FILE. With --policy it also needs a right: rules
    have the keys publish = ["orders.**"], subscribe, groups = ["billing.*"] and manage.
    """
    if context.invoked_subcommand is not None:
        return
    with reported(ExitCode.USAGE):
        kept = checked_sync(sync, data_dir, "messages")
    if data_dir is None:
        print_warning("messages are in memory only, and end with this program; --data-dir FOLDER keeps them")
    serve_hosted("broker", hosted, partial(_prepared, partial(BrokerService, data_dir, sync=kept)))


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


def _prepared(make: Callable[..., BrokerService], access: HostedAccess) -> HostedParts:
    service = make(rights=access.rights)
    return HostedParts(lambda: service, broker_config(access.tls), ending=service)
