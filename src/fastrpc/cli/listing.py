"""`fastrpc list`: the services and methods of a server, or the services and endpoints of a registry."""

from collections.abc import Iterable
from itertools import compress
from typing import Annotated, Any, NoReturn

import typer

from fastrpc.cli.calling.command import AsJson, Timeout, run_async
from fastrpc.cli.dial_options import Authorities, Certificate, Key, ServerName, TokenPath, dialing
from fastrpc.cli.output import Part, shown, stdout
from fastrpc.cli.printing import print_error, print_json, print_note, reported
from fastrpc.cli.registry_comparison import compare_registries
from fastrpc.cli.registry_listing import list_registry
from fastrpc.cli.registry_watching import watch_registry
from fastrpc.client.client import Client
from fastrpc.errors import CallError, ConfigError
from fastrpc.gateway.dialing import Dialing
from fastrpc.gateway.grpc_servers.described import describe_services
from fastrpc.gateway.grpc_servers.reflection import OWN_PREFIXES, ServerDescriptors, is_grpc
from fastrpc.registries.base.urls import names_registry
from fastrpc.rpc.described_services import (
    SERVICES_METHOD,
    MethodDescription,
    ServiceDescription,
    read_descriptions,
)
from fastrpc.rpc.description import nearest_name
from fastrpc.server.builtin import BUILTIN_PREFIX
from fastrpc.status import Status
from fastrpc.workers.plan import ExitCode

__all__ = ["explained", "list_services"]

#: The kinds of methods in words; "" for unary methods.
KINDS = {
    "unary": "",
    "server_stream": "server stream",
    "client_stream": "client stream",
    "both_ways": "both ways",
}

#: The prefixes of built-in services: the first one of fastrpc servers, the others of gRPC servers.
_BUILT_IN_PREFIXES = (BUILTIN_PREFIX, *OWN_PREFIXES)

#: The service of the embedded registry.
REGISTRY_SERVICE = "fastrpc.registry"


def list_services(
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS",
            help="A server, such as tcp://host:port or grpc://host:port, or a registry: registry://host:port.",
        ),
    ],
    service: Annotated[str | None, typer.Argument(metavar="SERVICE", help="Show this service only.")] = None,
    with_builtin: Annotated[bool, typer.Option("--all", help="Show fastrpc's own services too.")] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="URL",
            help="Another registry: show the differences between the two, and exit with 1 if there are any.",
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Of a registry: print each change, and each outage, until interrupted."),
    ] = False,
    timeout: Timeout = 5.0,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """List services, methods and signatures of a server, or services, endpoints and health of a registry."""
    with reported(ExitCode.USAGE):
        dial = dialing(ca, cert, key, server_name, token_file)
        _check_registries(address, compare, watch=watch)
    if compare is not None:
        compare_registries((address, compare), service, timeout, dial, as_json=as_json)
    elif watch:
        watch_registry(address, service, dial, as_json=as_json)
    elif names_registry(address):
        list_registry(address, service, timeout, dial, as_json=as_json)
    else:
        _list_server(address, service, timeout, dial, with_builtin=with_builtin, as_json=as_json)


def _check_registries(address: str, compare: str | None, *, watch: bool) -> None:
    """Refuse options for registries if an address is of another kind."""
    if watch and (compare is not None or not names_registry(address)):
        raise ConfigError("--watch follows one registry", hint="write registry://host:port")
    if compare is not None and not (names_registry(address) and names_registry(compare)):
        raise ConfigError("--compare compares two registries", hint="write registry://host:port for both")


def _list_server(
    address: str, service: str | None, timeout: float, dial: Dialing, *, with_builtin: bool, as_json: bool
) -> None:
    """Print services, methods and signatures."""
    with reported(ExitCode.USAGE):
        client = dial.client(address)
    with reported(ExitCode.FAILED, as_json=as_json):
        described = run_async(explained(_ask(client, timeout, address, service), address))
        services = read_descriptions(described, address)
    names = [one.name for one in services]
    wanted = [with_builtin or not name.startswith(_BUILT_IN_PREFIXES) for name in names]
    if service is not None:
        wanted = [name == service for name in names]
        if not any(wanted):
            _refuse(address, service, names)
    if as_json:
        print_json(list(compress(described, wanted)))
    else:
        _print(list(compress(services, wanted)))
        _note_registry(address, names)


async def _ask(client: Client, timeout: float, address: str, service: str | None) -> list[dict[str, Any]]:
    """Return the descriptions of a server's services, as its reflection gives them."""
    async with client:
        view = client.with_options(timeout=timeout, idempotent=True)
        if is_grpc(address):
            return await describe_services(
                ServerDescriptors(view, address), None if service is None else [service]
            )
        services: list[dict[str, Any]] = await view.call(SERVICES_METHOD)
        return services


def _refuse(address: str, service: str, names: list[str]) -> NoReturn:
    """Exit with an error: the server has no such service."""
    near = nearest_name(service, names)
    hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names)}"
    print_error(f"{address} has no service {service!r}", hint)
    raise typer.Exit(ExitCode.FAILED)


async def explained(asking: Any, address: str) -> Any:
    """Return the result of `asking`. If the server refuses because its reflection is off, the error says so."""
    try:
        return await asking
    except CallError as error:
        if error.status is Status.UNIMPLEMENTED and not is_grpc(address):
            raise CallError(
                error.status,
                f"{address} does not show its services",
                hint="reflection is on for loopback addresses; elsewhere start it with --reflection",
            ) from None
        raise


def _print(services: list[ServiceDescription]) -> None:
    for number, service in enumerate(services):
        if number:
            stdout.print()
        version = f" {service.version}" if service.version else ""
        summary = _first_line(service.documentation)
        stdout.print(
            shown(service.name, "bold"),
            shown(version, "dim"),
            shown(_also(service.aliases), "dim"),
            shown(f"  {summary}" if summary else ""),
        )
        streams = any(method.kind != "unary" for method in service.methods)
        rows: list[list[list[Part]]] = []
        for method in service.methods:
            name, _, rest = method.signature.partition("(")
            also = shown(_also(_own_aliases(service, method)), "dim")
            signature: list[Part] = ["  ", shown(name, "cyan"), shown(f"({rest}"), also]
            kind: list[list[Part]] = [[shown(KINDS.get(method.kind, ""), "magenta")]] if streams else []
            rows.append([signature, *kind, [shown(_first_line(method.documentation), "dim")]])
        stdout.table(rows)
    if not services:
        stdout.print("no services")


def _note_registry(address: str, names: list[str]) -> None:
    """Print a note if the address belongs to a registry, which serves only itself."""
    if REGISTRY_SERVICE in names and all(name.startswith(BUILTIN_PREFIX) for name in names):
        place = address.partition("://")[2]
        print_note(f"this is a registry; fastrpc list registry://{place} shows services and endpoints")


def _also(names: Iterable[str]) -> str:
    """Return the aliases of a service or method for its line; "" without aliases."""
    text = ", ".join(names)
    return f"  also {text}" if text else ""


def _own_aliases(service: ServiceDescription, method: MethodDescription) -> list[str]:
    """Return the aliases of a method under its service's name. The aliases of the service have a separate line."""
    prefix = f"{service.name}."
    return [name.removeprefix(prefix) for name in method.aliases if name.startswith(prefix)]


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
