"""`fastrpc health`: whether a server, or one of its services, is SERVING."""

from typing import Annotated

import typer

from fastrpc.cli.calling.command import Address, AsJson, Timeout, run_async
from fastrpc.cli.dial_options import Authorities, Certificate, Key, ServerName, TokenPath, dialing
from fastrpc.cli.output import shown, stdout
from fastrpc.cli.printing import print_json, print_note, reported
from fastrpc.client.client import Client
from fastrpc.client.probing import HEALTH_METHOD
from fastrpc.errors import CallError
from fastrpc.gateway.grpc_servers.reflection import is_grpc
from fastrpc.protocols.base import client_protocol
from fastrpc.registries.base.urls import names_registry, target_for
from fastrpc.status import Status
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
    checks all endpoints.
    """
    with reported(ExitCode.USAGE):
        dial = dialing(ca, cert, key, server_name, token_file)
        client = dial.client(target_for(address, service))

    with reported(ExitCode.FAILED, as_json=as_json):
        status, endpoint = run_async(_ask(client, timeout, address, service))
    told = {"service": service, "status": status}
    if names_registry(address):
        told["endpoint"] = endpoint
    if as_json:
        print_json(told)
    else:
        stdout.print(shown(status, HEALTH_STYLES.get(status, "")))
        if "endpoint" in told:
            print_note(f"{service or 'the server'} at {endpoint}")
    if status != "SERVING":
        raise typer.Exit(ExitCode.FAILED)


async def _ask(client: Client, timeout: float, address: str, service: str) -> tuple[str, str]:
    """Return the health of a server or a service, and the endpoint that reported it."""
    async with client:
        view = client.with_options(timeout=timeout, idempotent=True)
        check = client_protocol("grpc").traits.health if is_grpc(address) else None
        if check is None:
            reply = await view.request(HEALTH_METHOD, service)
            return str(reply.value), str(reply.endpoint)
        try:
            reply = await view.with_options(codec=check.codec).request(check.method, check.question(service))
        except CallError as error:
            if error.status is Status.NOT_FOUND and service:
                return "SERVICE_UNKNOWN", address
            raise
        return str(check.verdict(reply.value)), str(reply.endpoint)
