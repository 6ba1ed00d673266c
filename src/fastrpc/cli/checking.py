"""`fastrpc health`: whether a server, or one of its services, is SERVING."""

from typing import Annotated, Any

import typer

from fastrpc.cli.calling.command import Address, AsJson, Timeout, run_async, target_for
from fastrpc.cli.dialing import Authorities, Certificate, Key, ServerName, TokenPath, dialing
from fastrpc.cli.output import shown, stdout
from fastrpc.cli.printing import print_json, print_note, reported
from fastrpc.client.probing import HEALTH_METHOD
from fastrpc.registries.base.urls import names_registry
from fastrpc.rpc.reply import Reply
from fastrpc.workers.plan import ExitCode

__all__ = ["HEALTH_STYLES", "health"]

HEALTH_STYLES = {"SERVING": "green", "NOT_SERVING": "yellow", "SERVICE_UNKNOWN": "red"}


def health(
    address: Address,
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Only this one.")] = "",
    timeout: Timeout = 5.0,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """Check the health of a server: exit code 0 if it is SERVING, else 1.

    Given a registry, check one endpoint of the service and print its address; `fastrpc list registry://host:port`
    checks all of them.
    """
    with reported(ExitCode.USAGE):
        dial = dialing(ca, cert, key, server_name, token_file)
        client = dial.client(target_for(address, service))

    async def ask() -> Reply[Any]:
        async with client:
            view = client.with_options(timeout=timeout, idempotent=True)
            return await view.request(HEALTH_METHOD, service)

    with reported(ExitCode.FAILED, as_json=as_json):
        reply = run_async(ask())
    status = str(reply.value)
    told = {"service": service, "status": status}
    if names_registry(address):
        told["endpoint"] = str(reply.endpoint)
    if as_json:
        print_json(told)
    else:
        stdout.print(shown(status, HEALTH_STYLES.get(status, "")))
        if "endpoint" in told:
            print_note(f"{service or 'the server'} at {reply.endpoint}")
    if status != "SERVING":
        raise typer.Exit(ExitCode.FAILED)
