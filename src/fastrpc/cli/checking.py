"""`fastrpc health`: whether a server, or one of its services, is to be called."""

from typing import Annotated

import typer
from rich.text import Text

from fastrpc.cli.calling import Address, AsJson, Timeout, run_async
from fastrpc.cli.printing import print_json, reported, stdout
from fastrpc.client.client import Client
from fastrpc.client.probing import HEALTH_METHOD
from fastrpc.server.plan import ExitCode

__all__ = ["HEALTH_STYLES", "health"]

HEALTH_STYLES = {"SERVING": "green", "NOT_SERVING": "yellow", "SERVICE_UNKNOWN": "red"}


def health(
    address: Address,
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Only this one.")] = "",
    timeout: Timeout = 5.0,
    as_json: AsJson = False,
) -> None:
    """Ask a server whether it is to be called: 0 when it is SERVING, else 1."""
    with reported(ExitCode.USAGE):
        client = Client(address)

    async def ask() -> str:
        async with client:
            view = client.with_options(timeout=timeout, idempotent=True)
            return str(await view.call(HEALTH_METHOD, service))

    with reported(ExitCode.FAILED, as_json=as_json):
        status = run_async(ask())
    if as_json:
        print_json({"service": service, "status": status})
    else:
        stdout.print(Text(status, style=HEALTH_STYLES.get(status, "")))
    if status != "SERVING":
        raise typer.Exit(ExitCode.FAILED)
