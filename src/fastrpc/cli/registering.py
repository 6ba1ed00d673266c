"""`fastrpc registry`: the embedded registry as a program."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fastrpc.cli.hosted import HostedParts, serve_hosted
from fastrpc.cli.hosted_options import HostedOptions, data_folder_option, with_hosted_options
from fastrpc.config import ServerConfig
from fastrpc.coordination.registry.server import DEFAULT_REGISTRY_ADDRESS
from fastrpc.coordination.registry.service import RegistryService
from fastrpc.stores.memory import MOST_BYTES

__all__ = ["registry"]

DataFolder = Annotated[Path | None, data_folder_option("the registrations")]
RecordsBytes = Annotated[
    int, typer.Option("--records-bytes", help="Bytes of all records together; more are refused.", min=1)
]


@with_hosted_options(DEFAULT_REGISTRY_ADDRESS)
def registry(
    hosted: HostedOptions, data_dir: DataFolder = None, records_bytes: RecordsBytes = MOST_BYTES
) -> None:
    """Run a registry of services and their endpoints, for servers and clients with registry://host:port.

    A server that does not renew its lease for some seconds is dropped; watchers get each change immediately.

    With --tokens every server and client needs one: registry://host:port?token_file=FILE. With --policy they also need
    a right: rules have the keys register = ["shop.*"] and read = ["**"].
    """
    serve_hosted(
        "registry",
        hosted,
        lambda access: HostedParts(
            partial(RegistryService, data_dir, records_bytes=records_bytes, rights=access.rights),
            ServerConfig(tls=access.tls),
        ),
    )
