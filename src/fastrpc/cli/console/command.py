"""`fastrpc console`: all servers of a registry as views."""

import gc
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import parse_qsl

import typer

from fastrpc.auth.static_tokens import StaticTokens
from fastrpc.auth.token_file import TokenFile
from fastrpc.cli.calling.command import run_async
from fastrpc.cli.dial_options import Authorities, Key, ServerName, dialing
from fastrpc.cli.gateway.command import RegistryCertificate, RegistryTokenPath
from fastrpc.cli.gateway.plan import check_without_effect, front_app, serve_front
from fastrpc.cli.listening import (
    ConfigFile,
    LogFormatName,
    LogLevelName,
    ServerKey,
    check_encrypts,
    checked_format,
    checked_level,
    tls_settings,
)
from fastrpc.cli.log_output import install_logging, lower_root_level
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import print_error, print_json, reported
from fastrpc.cli.settings import RunSettings, read_settings
from fastrpc.config import TLS, ServerConfig
from fastrpc.console.allowed import LOOPBACK, AllowedServers, admin_address
from fastrpc.console.blocks import View
from fastrpc.console.fleet import Fleet
from fastrpc.console.page_files import with_page
from fastrpc.console.service import (
    VIEWS,
    ConsoleActService,
    ConsoleDetailService,
    ConsoleService,
    made_view,
)
from fastrpc.endpoint import Address, is_local
from fastrpc.errors import ConfigError
from fastrpc.gateway.addresses import http_addresses, http_url
from fastrpc.gateway.catalogue import Catalogue, catalogues, remove_builtin
from fastrpc.gateway.dialing import Dialing
from fastrpc.handlers.import_string import check_import_string
from fastrpc.rpc.identity import Identity
from fastrpc.rpc.service import service_definition
from fastrpc.server.server import Server
from fastrpc.workers.app import App
from fastrpc.workers.plan import ExitCode, Plan, Started

__all__ = ["console"]

DEFAULT_ADDRESS: Final = "http://127.0.0.1:9190"

#: New objects after which the garbage collector searches for cycles. Each poll replaces the counts of a server,
#: hundreds of objects without cycles. At the interpreter's default of 700 the collector takes a tenth of the CPU time
#: with 1,000 servers.
_COLLECTED_AFTER: Final = 50_000

#: The services of the console.
SERVICES: Final = (ConsoleService, ConsoleDetailService, ConsoleActService)

Registries = Annotated[
    list[str] | None,
    typer.Option(
        "--registry",
        "-r",
        metavar="URL",
        help="A registry whose services are shown: registry://host:port; may be repeated.",
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="ADMIN_URL",
        help="The admin pages of a server that is in no registry: http://127.0.0.1:9099, tcp://127.0.0.1:9099 or "
        "127.0.0.1:9099; may be repeated.",
    ),
]
ServerPatterns = Annotated[
    list[str] | None,
    typer.Option(
        "--servers",
        metavar="PATTERN",
        help="Hosts or networks whose admin pages are read, and get acts, where a registry names them: *.shop.example, "
        "10.0.0.0/8, 127.0.0.1:9099; may be repeated. [default: this machine, without acts; with --admin-token-file: "
        "none]",
    ),
]
ReadingToken = Annotated[
    Path | None,
    typer.Option(
        "--admin-token-file",
        metavar="FILE",
        help="A file with the token that the servers' admin pages require.",
    ),
]
ConsoleAddresses = Annotated[
    list[str] | None,
    typer.Option(
        "--address",
        "-a",
        metavar="ADDRESS",
        help=f"Where to listen for callers of the views; may be repeated. [default: {DEFAULT_ADDRESS}]",
    ),
]
ConsoleApp = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="MODULE:ATTRIBUTE",
        help="A fastrpc.App without sources, with authenticate and authorize: needed beyond this machine.",
    ),
]
ConsoleCertificate = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="The certificate for https:// (PEM).")
]
Calls = Annotated[
    bool,
    typer.Option(
        "--calls",
        help="Call the services of the registry through the console too, as through fastrpc gateway: by HTTP, and at "
        "/docs.",
    ),
]
PrintedView = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="VIEW",
        help=f"Print one view as JSON and end: {', '.join(VIEWS)}; with arguments as in service?service=arith.",
    ),
]


def console(
    registry: Registries = None,
    target: Targets = None,
    servers: ServerPatterns = None,
    admin_token_file: ReadingToken = None,
    calls: Calls = False,
    address: ConsoleAddresses = None,
    app: ConsoleApp = None,
    tls_cert: ConsoleCertificate = None,
    tls_key: ServerKey = None,
    ca: Authorities = None,
    cert: RegistryCertificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: RegistryTokenPath = None,
    config: ConfigFile = None,
    log_level: LogLevelName = None,
    log_format: LogFormatName = None,
    view: PrintedView = None,
) -> None:
    """Watch all servers of a registry by their admin pages, and show views of them to callers, until SIGTERM or Ctrl-C.

    The token of --admin-token-file is sent only to servers that match --servers, and only over TLS or on this machine.
    """
    with reported(ExitCode.USAGE):
        dial = dialing(ca, cert, key, server_name, token_file)
        allowed = _allowed(servers, has_token=admin_token_file is not None)
        fleet = _fleet(registry or (), target or (), allowed, dial, admin_token_file)
        arguments: dict[str, Any] = tls_settings(tls_cert, tls_key, None)
        arguments |= {"log_level": checked_level(log_level), "log_format": checked_format(log_format)}
        settings, tokens = read_settings(arguments, os.environ, config)[0], list[str]()
        addresses = http_addresses(address or [DEFAULT_ADDRESS])
        if view is None:
            given = settings.places.files_of(settings.config.tls)
            check_encrypts(
                {"--tls-cert": tls_cert, "--tls-key": tls_key, **given}, addresses, encrypted="https"
            )
            beside = _Beside(fleet, _catalogue(registry or (), dial) if calls else None, tokens)
            plan = _plan(settings, addresses, app, tokens, beside)
    if view is not None:
        _print_view(fleet, view)
        return
    plan = replace(plan, on_started=_teller(allowed, tokens))
    raise typer.Exit(serve_front(plan, replace(settings, registry=())))


def _allowed(servers: Sequence[str] | None, *, has_token: bool) -> AllowedServers:
    """Return the servers that the console may poll; without `servers` no server gets a token."""
    # Any user of this machine may listen at a port that a registry names, so the token needs --servers.
    return AllowedServers(servers or (() if has_token else LOOPBACK), takes_acts=bool(servers))


def _catalogue(registries: Sequence[str], dial: Dialing) -> Callable[..., Catalogue]:
    """Return the function that makes the catalogue of the services that callers may call."""
    if not registries:
        raise ConfigError("--calls needs the services of a registry", hint="give --registry URL")
    return catalogues(registries, dial)


def _fleet(
    registries: Sequence[str],
    targets: Sequence[str],
    allowed: AllowedServers,
    dial: Dialing,
    token_path: Path | None,
) -> Fleet:
    """Return the fleet. Servers get only the token for reading; registries do not get it."""
    if not registries and not targets:
        raise ConfigError(
            "there is nothing to show",
            hint="give --registry URL, or --target URL of the admin pages of a server",
        )
    trusted = TLS() if dial.config.tls is None else TLS(ca_file=dial.config.tls.ca_file)
    return Fleet(
        dial.registry(*registries) if registries else None,
        allowed,
        targets=[admin_address(url) for url in targets],
        tls=trusted,
        token=None if token_path is None else TokenFile(token_path),
    )


def _print_view(fleet: Fleet, text: str) -> None:
    """Print one view of the current state, with details: the user of the command has the token for reading."""
    name, _, query = text.partition("?")
    arguments = dict(parse_qsl(query, keep_blank_values=True))

    async def shown() -> tuple[View | None, str | None]:
        async with fleet:
            await fleet.look()
            if fleet.trouble is not None and not fleet.servers:
                return None, fleet.trouble
            return await made_view(fleet, name, arguments, is_detailed=True), fleet.trouble

    install_logging("error", is_demanded=False, log_format="text")
    with reported(ExitCode.FAILED, as_json=True):
        view, trouble = run_async(shown())
    if view is not None:
        print_json(view)
    if trouble is not None:
        # Without the registry a view has only the targets.
        print_error(trouble, "check the address, and that the registry runs there")
        raise typer.Exit(ExitCode.FAILED)


class _Beside(NamedTuple):
    """The parts that run in addition to the server of the console."""

    fleet: Fleet
    #: Makes the catalogue of the services that callers may call; None without --calls.
    catalogue: Callable[..., Catalogue] | None
    #: The token that the console printed, if it printed one.
    tokens: Sequence[str]

    @asynccontextmanager
    async def running(self, server: Server) -> AsyncIterator[None]:
        names = [service_definition(one).name for one in SERVICES]
        gc.set_threshold(_COLLECTED_AFTER, *gc.get_threshold()[1:])
        async with self.fleet:
            if self.catalogue is None:
                remove_builtin(server, keeps=names)
                yield
                return
            # The printed token is for the console only: it is not passed on to other servers.
            async with self.catalogue(server, own=names, hides_token=bool(self.tokens)):
                yield


def _plan(
    settings: RunSettings, addresses: tuple[Address, ...], app: str | None, tokens: list[str], beside: _Beside
) -> Plan:
    """Return the plan of the console.

    Args:
        tokens: a list to which the token for callers is added if no App has `authenticate`: without a token, other
            users of this machine could read the console's data.
    """
    check_without_effect(settings, "a console")

    def configure(config: ServerConfig) -> ServerConfig:
        found = settings.over(replace(config, protocols=("http",)))
        return replace(found, http=with_page(found.http))

    def load() -> list[Any]:
        try:
            front = App([]) if app is None else front_app(app)
        finally:
            lower_root_level(settings.log_level)
        if front.authenticate is None:
            _check_all_local(addresses, "authenticate", "write App([], authenticate=…, authorize=…)")
            tokens[:] = [secrets.token_urlsafe(24)]
            front = replace(front, authenticate=StaticTokens({tokens[0]: Identity("console")}))
        return [replace(front, sources=[service(beside.fleet) for service in SERVICES])]

    if settings.workers != 1:
        raise ConfigError(f"workers is {settings.workers}, and a console is one process", hint="leave it out")
    _check_all_local([one for one in addresses if one.scheme != "tls"], "TLS", "give an address https://")
    config = configure(ServerConfig())
    if config.protocols != ("http",):
        raise ConfigError("a console speaks only HTTP", hint="leave out protocols")
    if app is None:
        _check_all_local(addresses, "--app", "give an App with authenticate and authorize")
    else:
        check_import_string(app)
    return Plan(
        load=load,
        configure=configure,
        addresses=addresses,
        limits=settings.limits,
        config=config,
        beside=beside.running,
    )


def _check_all_local(addresses: Sequence[Address], needed: str, hint: str) -> None:
    """Refuse addresses that other machines can reach if a setting that they need is missing."""
    for one in addresses:
        if not is_local(one):
            raise ConfigError(
                f"{http_url(str(one))} is reachable from other machines and needs {needed}", hint=hint
            )


def _teller(allowed: AllowedServers, tokens: list[str]) -> Callable[[Started], None]:
    def tell(started: Started) -> None:
        allowed.own_ports = frozenset(Address.parse(one).port for one in started.addresses)
        # The token follows "#", since browsers do not send that part to servers.
        shown = f"/#token={tokens[0]}" if tokens else ""
        for one in started.addresses:
            stdout.print("console at ", (http_url(one) + shown, "bold"))

    return tell
