"""`fastrpc gateway`: the services of a registry by HTTP."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from fastrpc.cli.dial_options import TOKEN_VARIABLE, Authorities, Key, ServerName, dialing
from fastrpc.cli.gateway.describing import (
    ApiDescription,
    ApiTitle,
    ApiVersion,
    ServerUrls,
    described,
    descriptions,
)
from fastrpc.cli.gateway.plan import check_without_effect, front_app, serve_front
from fastrpc.cli.listening import (
    AddressesAsJson,
    ConfigFile,
    LogFormatName,
    LogLevelName,
    ServerKey,
    Workers,
    check_encrypts,
    checked_format,
    checked_level,
    tls_settings,
)
from fastrpc.cli.log_output import lower_root_level
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import print_json, reported
from fastrpc.cli.serving.mounting import RootPath, http_settings
from fastrpc.cli.settings import RunSettings, read_settings
from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.gateway.addresses import http_addresses, http_url
from fastrpc.gateway.catalogue import Catalogue, catalogues
from fastrpc.gateway.contract_files import services_of_file
from fastrpc.handlers.import_string import check_import_string
from fastrpc.workers.plan import ExitCode, Plan, Started

__all__ = ["gateway"]

DEFAULT_ADDRESS: Final = "http://127.0.0.1:8080"

Registry = Annotated[
    list[str],
    typer.Option(
        "--registry",
        "-r",
        metavar="URL",
        help="The registry with the services: registry://host:port, may be repeated; or a server of gRPC: "
        "grpc://host:port.",
    ),
]
Addresses = Annotated[
    list[str] | None,
    typer.Option(
        "--address",
        "-a",
        metavar="ADDRESS",
        help=f"Where to listen, http:// or https://; may be repeated. [default: {DEFAULT_ADDRESS}]",
    ),
]
Contracts = Annotated[
    list[Path] | None,
    typer.Option(
        "--contract",
        metavar="FILE",
        help="A Python file with classes under @service, whose types are then known; may be repeated.",
    ),
]
GatewayApp = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="MODULE:ATTRIBUTE",
        help="A fastrpc.App without sources: limits, interceptors, authentication and settings of the gateway.",
    ),
]
AllowsPlain = Annotated[
    bool,
    typer.Option(
        "--allow-plain",
        help="Call servers at tcp:// beyond loopback too: the tokens of callers go there in the clear.",
    ),
]
RegistryTokenPath = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help=f"A file with the token to show to a registry:// whose URL has no token_file=, and to no server. "
        f"{TOKEN_VARIABLE} may hold the token instead.",
    ),
]
GatewayCertificate = Annotated[
    Path | None,
    typer.Option("--tls-cert", metavar="FILE", help="The certificate for an address https:// (PEM)."),
]
RegistryCertificate = Annotated[
    Path | None,
    typer.Option(
        "--cert", metavar="FILE", help="A certificate to show to the registry, and to no server (PEM)."
    ),
]


def gateway(
    registry: Registry,
    address: Addresses = None,
    contract: Contracts = None,
    app: GatewayApp = None,
    allow_plain: AllowsPlain = False,
    workers: Workers = None,
    tls_cert: GatewayCertificate = None,
    tls_key: ServerKey = None,
    ca: Authorities = None,
    cert: RegistryCertificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: RegistryTokenPath = None,
    config: ConfigFile = None,
    title: ApiTitle = None,
    api_version: ApiVersion = None,
    description: ApiDescription = None,
    server_url: ServerUrls = None,
    root_path: RootPath = None,
    log_level: LogLevelName = None,
    log_format: LogFormatName = None,
    as_json: AddressesAsJson = False,
) -> None:
    """Offer the services of a registry, or of a server of gRPC, by HTTP, until SIGTERM or Ctrl-C.

    A caller's token is passed on with each of its calls; --token-file and --cert are for the registry only.

    Settings of HTTP may be in the environment (FASTRPC_HTTP_JSONRPC, …) and in a TOML file.
    """
    with reported(ExitCode.USAGE):
        dial = dialing(ca, cert, key, server_name, token_file)
        addresses = http_addresses(address or [DEFAULT_ADDRESS])
        arguments: dict[str, Any] = {
            "workers": workers,
            **http_settings(None, root_path),
            "log_level": checked_level(log_level),
            "log_format": checked_format(log_format),
            **tls_settings(tls_cert, tls_key, None),
        }
        settings, _ = read_settings(arguments, os.environ, config)
        given = settings.places.files_of(settings.config.tls)
        check_encrypts({"--tls-cert": tls_cert, "--tls-key": tls_key, **given}, addresses, encrypted="https")
        contracts = [one for path in contract or () for one in services_of_file(path)]
        catalogue = catalogues(registry, dial, contracts, allows_plain=allow_plain)
        is_json = as_json or settings.log_format == "json"
        about = descriptions(title, api_version, description, server_url)
        plan = replace(_plan(settings, addresses, catalogue, app, about), on_started=_teller(as_json=is_json))
    raise typer.Exit(serve_front(plan, replace(settings, registry=())))


def _plan(
    settings: RunSettings,
    addresses: tuple[Address, ...],
    catalogue: Callable[[Any], Catalogue],
    app: str | None,
    about: dict[str, Any],
) -> Plan:
    """Return the plan of the gateway."""

    def configure(config: ServerConfig) -> ServerConfig:
        # Replace the protocols of the App, which may be meant for a server of its services.
        return described(settings.over(replace(config, protocols=("http",))), about)

    def load() -> list[Any]:
        try:
            return [] if app is None else [front_app(app)]
        finally:
            lower_root_level(settings.log_level)

    check_without_effect(settings, "a gateway")
    config = configure(ServerConfig())
    if config.protocols != ("http",):
        raise ConfigError("a gateway speaks only HTTP", hint="leave out protocols")
    if app is not None:
        check_import_string(app)
    elif config.tls is None and any(one.scheme == "tls" for one in addresses):
        raise ConfigError("an https:// address needs a certificate", hint="give --tls-cert FILE")
    return Plan(
        load=load,
        configure=configure,
        addresses=addresses,
        workers=settings.workers,
        worker_timeout=settings.worker_timeout,
        max_calls=settings.max_calls,
        limits=settings.limits,
        config=config,
        beside=catalogue,
    )


def _teller(*, as_json: bool) -> Callable[[Started], None]:
    def tell(started: Started) -> None:
        urls = [http_url(one) for one in started.addresses]
        if as_json:
            print_json({"urls": urls, "services": list(started.services), "process_ids": started.process_ids})
            return
        for url in urls:
            stdout.print("gateway at ", (url, "bold"))
        for service, methods in started.services.items():
            stdout.print("  ", (service, "cyan"), f"  {', '.join(methods)}")

    return tell
