"""`fastrpc run` and `fastrpc dev`: serve the object that an import string names."""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from fastrpc.auth.policy import Policy
from fastrpc.auth.static_tokens import StaticTokens
from fastrpc.cli.listening import (
    AddressesAsJson,
    ClientAuthorities,
    ConfigFile,
    LogFormatName,
    LogLevelName,
    PolicyFile,
    ServerCertificate,
    ServerKey,
    TokensFile,
    Workers,
    check_encrypts,
    checked_format,
    checked_level,
    tls_settings,
)
from fastrpc.cli.log_output import install_logging, lower_root_level
from fastrpc.cli.output import stderr
from fastrpc.cli.placing import LabelPairs, Region, Weight, Zone, placed
from fastrpc.cli.printing import (
    describe_error,
    print_error,
    reported,
)
from fastrpc.cli.settings import RunSettings, read_settings
from fastrpc.cli.started import print_box, print_started, print_started_json
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.handlers.import_string import check_import_string, import_from_string
from fastrpc.registries.base.urls import UNDIALABLE, open_registry
from fastrpc.rpc.interceptor import Interceptor, put_around_clients
from fastrpc.server.inherited import is_inherited
from fastrpc.transports.base import transport_for
from fastrpc.workers.plan import DEFAULT_ADDRESS, ExitCode, NothingToServeError, Plan, Started
from fastrpc.workers.serve import addresses_of
from fastrpc.workers.serve import run as run_plan

__all__ = [
    "dev",
    "make_plan",
    "run",
    "run_reported",
]

logger = logging.getLogger("fastrpc.server")

#: Seconds that calls get to finish before the app is reloaded.
DEV_DRAIN_SECONDS = 0.5

App = Annotated[
    str | None,
    typer.Argument(
        metavar="MODULE:ATTRIBUTE",
        help="The services, such as app:services: a class, an App, a list of several, …; left out, `app` of --config.",
    ),
]
Addresses = Annotated[
    list[str] | None,
    typer.Option(
        "--address",
        "-a",
        metavar="ADDRESS",
        help=f"Where to listen; may be repeated. [default: {DEFAULT_ADDRESS}]",
    ),
]
WorkerTimeout = Annotated[
    float | None,
    typer.Option(
        "--worker-timeout",
        metavar="SECONDS",
        help="Kill and replace a worker whose event loop does not run for so long. [default: 60]",
    ),
]
MaxCalls = Annotated[
    int | None,
    typer.Option(
        "--max-calls",
        min=1,
        metavar="N",
        help="Replace a worker once it has served so many calls, 10 % more or fewer. [default: never]",
    ),
]
ControlSocket = Annotated[
    Path | None,
    typer.Option(
        "--control",
        metavar="PATH",
        help="A socket at which another program of the same user may take this one's place.",
    ),
]
TakesOver = Annotated[
    bool,
    typer.Option(
        "--takeover", help="Take the place of the program at --control: its sockets; it then drains."
    ),
]
ShowsServices = Annotated[
    bool | None,
    typer.Option(
        "--reflection/--no-reflection",
        help="Show callers the services and signatures. [default: on loopback addresses]",
    ),
]
RegistryURL = Annotated[
    str | None,
    typer.Option(
        "--registry",
        "-r",
        help="Where to register, such as registry://host:port; ?token_file=FILE behind it names a token.",
        metavar="URL",
    ),
]
Advertised = Annotated[
    list[str] | None,
    typer.Option(
        "--advertise",
        metavar="ADDRESS",
        help="The address to register in place of --address; may be repeated like it.",
    ),
]
Otel = Annotated[
    bool | None, typer.Option("--otel", help="Start OpenTelemetry's SDK in each worker, and trace calls.")
]
DevLogLevelName = Annotated[
    str | None,
    typer.Option(
        "--log-level", metavar="LEVEL", help="debug, info, warning, error or critical. [default: debug]"
    ),
]


def run(
    app: App = None,
    address: Addresses = None,
    workers: Workers = None,
    worker_timeout: WorkerTimeout = None,
    max_calls: MaxCalls = None,
    control: ControlSocket = None,
    takeover: TakesOver = False,
    reflection: ShowsServices = None,
    registry: RegistryURL = None,
    advertise: Advertised = None,
    zone: Zone = None,
    region: Region = None,
    label: LabelPairs = None,
    weight: Weight = None,
    tls_cert: ServerCertificate = None,
    tls_key: ServerKey = None,
    tls_ca: ClientAuthorities = None,
    tokens: TokensFile = None,
    policy: PolicyFile = None,
    config: ConfigFile = None,
    log_level: LogLevelName = None,
    log_format: LogFormatName = None,
    otel: Otel = None,
    as_json: AddressesAsJson = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain; a second one quits at once.

    Settings may also be in the environment (FASTRPC_WORKERS, FASTRPC_TIMEOUTS_DRAIN, …) and in a TOML file.
    """
    with reported(ExitCode.USAGE):
        arguments = {
            "app": app,
            "address": address or None,
            "workers": workers,
            "worker_timeout": worker_timeout,
            "max_calls": max_calls,
            "control": control and str(control),
            "reflection": reflection,
            "registry": registry,
            "advertise": advertise or None,
            "zone": zone,
            "region": region,
            "label": label or None,
            "weight": weight,
            "tokens": tokens and str(tokens),
            "policy": policy and str(policy),
            "log_level": checked_level(log_level),
            "log_format": checked_format(log_format),
            "otel": otel or None,
        }
        arguments |= tls_settings(tls_cert, tls_key, tls_ca)
        settings, warnings = read_settings(arguments, os.environ, config)
        # Never by the environment: the first start of the program has the same one, and must not take over.
        settings = replace(settings, takeover=takeover)
        if settings.registry is None:  # An encrypted one gets the certificates as well.
            _check_encrypts(settings, {"--tls-cert": tls_cert, "--tls-key": tls_key, "--tls-ca": tls_ca})
        # Beside a log of JSON each line that the program writes is JSON.
        is_json = as_json or settings.log_format == "json"
        plan = make_plan(settings, print_started_json if is_json else print_started)
    _install_logging(settings, warnings)
    raise typer.Exit(_run_checked(plan, settings))


def dev(
    app: App = None,
    address: Addresses = None,
    config: ConfigFile = None,
    log_level: DevLogLevelName = None,
) -> None:
    """Serve for development: reload the app when a file below this directory changes.

    One process, with reflection, the text of handlers' exceptions in answers, results checked against their
    annotations, debug output and a short drain.
    """
    with reported(ExitCode.USAGE):
        arguments = {
            "app": app,
            "address": address or None,
            "reflection": True,
            "expose_errors": True,
            "check_results": True,
            "timeouts.drain": DEV_DRAIN_SECONDS,
            "log_level": checked_level(log_level) or "debug",
        }
        settings, _ = read_settings(arguments, os.environ, config)
        # A development server serves its developer only.
        settings = replace(
            settings, registry=None, advertise=(), control=None, log_level_is_demanded=log_level is not None
        )
        plan = make_plan(settings, print_box)
    _install_logging(settings)
    # Files may change twice within a second, and bytecode caches compare whole seconds.
    sys.dont_write_bytecode = True
    from fastrpc.workers.reloader import Reloader, SourceFiles

    reloader = Reloader(plan, SourceFiles(Path.cwd()), _print_failure)
    raise typer.Exit(run_reported(lambda: run_plan(plan, reloader.run), settings))


def _run_checked(plan: Plan, settings: RunSettings) -> ExitCode:
    """Serve a plan, and refuse settings that do not fit the App once that is loaded."""
    known = [plan]

    def check(loaded: Plan) -> None:
        known.append(loaded)
        # An App may have brought the registry.
        with reported(ExitCode.USAGE):
            _check_advertised(loaded)

    return run_reported(lambda: run_plan(plan, on_loaded=check), settings, lambda: known[-1])


def make_plan(settings: RunSettings, on_started: Callable[[Started], None]) -> Plan:
    """Return the sources to serve.

    Raises:
        ConfigError: no source is given, an address cannot be parsed, or a file of tokens or rules cannot be used.
    """
    if settings.app is None:
        raise ConfigError("nothing to serve", hint="name it as module:attribute, such as app:services")
    places = settings.places
    with places.naming("app"):
        check_import_string(settings.app)
    with places.naming("advertise"):
        advertise = addresses_of(settings.advertise)
    traced = _telemetry(settings)
    with places.naming_fields():
        plan = Plan(
            load=partial(_load, settings.app, settings, traced.get("outermost", ())),
            addresses=_addresses(settings),
            workers=settings.workers,
            worker_timeout=settings.worker_timeout,
            max_calls=settings.max_calls,
            control=None if settings.control is None else Address("unix", path=settings.control),
            takeover=settings.takeover,
            needs_service=True,
            config=settings.config,
            configure=settings.over,
            registry=_registry(settings),
            advertise=advertise,
            placed=placed(settings),
            on_started=on_started,
            **_access(settings),
            **traced,
        )
    if settings.registry is not None:
        with places.naming("advertise"):
            _check_advertised(plan)
    return plan


def _addresses(settings: RunSettings) -> tuple[Address, ...]:
    """Return the addresses to listen at; those with a transport."""
    with settings.places.naming("address"):
        addresses = addresses_of(settings.addresses)
        for address in addresses:
            if not is_inherited(address):
                transport_for(address)
    return addresses


def _registry(settings: RunSettings) -> str | None:
    """Return the URL of the registry, checked: each process opens its own."""
    with settings.places.naming("registry"):
        if settings.registry is not None:
            open_registry(settings.registry)
    return settings.registry


def _access(settings: RunSettings) -> dict[str, Any]:
    """Return the tokens and the policy of a plan, whose files are read."""
    found: dict[str, Any] = {}
    with settings.places.naming("tokens"):
        if settings.tokens is not None:
            found["authenticate"] = StaticTokens.from_file(settings.tokens)
    with settings.places.naming("policy"):
        if settings.policy is not None:
            found["authorize"] = Policy.from_file(settings.policy)
    return found


def _load(app: str, settings: RunSettings, around_clients: Sequence[Interceptor]) -> list[Any]:
    """Import the program, whose clients are traced as its services are."""
    put_around_clients(*around_clients)
    try:
        return [import_from_string(app)]
    finally:
        lower_root_level(settings.log_level)


def _telemetry(settings: RunSettings) -> dict[str, Any]:
    """Return the additions of tracing to a plan."""
    if not settings.otel:
        return {}
    # Imported on first use: the packages are optional.
    from fastrpc.cli.telemetry import check_sdk, telemetry
    from fastrpc.interceptors import OpenTelemetry

    check_sdk()
    return {"outermost": (OpenTelemetry(),), "foremost": (telemetry,)}


def _check_encrypts(settings: RunSettings, options: Mapping[str, Path | None]) -> None:
    """Refuse options and settings of TLS where neither an address nor the admin pages are encrypted."""
    addresses, admin = _addresses(settings), settings.config.admin_address
    with settings.places.naming("admin_address"):
        addresses += () if admin is None else addresses_of(admin)
    check_encrypts({**options, **settings.places.files_of(settings.config.tls)}, addresses)


def _check_advertised(plan: Plan) -> None:
    """Refuse addresses that no client can dial, and advertised ones without a registry."""
    if plan.registry is None:
        if plan.advertise:
            raise ConfigError(
                f"{', '.join(map(str, plan.advertise))} is advertised to no registry",
                hint="--advertise goes with --registry",
            )
        return
    for address, told in zip(plan.addresses, plan.advertised(), strict=True):
        if told is None and address.host in UNDIALABLE:
            raise ConfigError(
                f"{address} is an address to listen at, no client can dial it",
                hint="name the address that clients dial: --advertise tcp://10.0.0.7:8972",
            )


def run_reported(
    serve: Callable[[], ExitCode], settings: RunSettings, served: Callable[[], Plan] | None = None
) -> ExitCode:
    """Serve, and report an abnormal end.

    Args:
        served: returns the effective plan: an App has settings of its own.
    """
    try:
        code = serve()
    except typer.Exit:
        raise  # It is reported.
    except Exception as error:
        # Many settings show only at the start that they do not fit each other.
        named = settings.places.named(error) if isinstance(error, ConfigError) else None
        is_usage = named is not None or isinstance(error, NothingToServeError)
        cause, hint = describe_error(named or error)
        _print_error(settings, cause, hint if is_usage else hint or _trace_hint(settings))
        if settings.log_level == "debug":
            logger.debug("it could not start", exc_info=error)
        return ExitCode.USAGE if is_usage else ExitCode.NOT_STARTED
    if code is ExitCode.DRAIN_TIMED_OUT:
        seconds = (settings if served is None else served()).config.timeouts.drain
        _print_error(
            settings,
            f"calls were cancelled: they were still running {seconds} s after the drain began",
            "raise drain in [timeouts] (FASTRPC_TIMEOUTS_DRAIN), or in the config of the App",
        )
    return code


def _print_failure(error: Exception) -> None:
    cause, hint = describe_error(error)
    print_error(cause, hint)
    stderr.print("waiting for a change", style="dim")


def _install_logging(settings: RunSettings, warnings: Sequence[str] = ()) -> None:
    """Install the logging of the command, and print warnings about its settings."""
    install_logging(
        settings.log_level, is_demanded=settings.log_level_is_demanded, log_format=settings.log_format
    )
    for warning in warnings:
        _warn(settings, warning)


def _warn(settings: RunSettings, text: str) -> None:
    """Print a warning; where standard error is a log of JSON, as a record."""
    if settings.log_format == "json":
        logger.warning("%s", text)
    else:
        stderr.print(("warning: ", "yellow"), text)


def _print_error(settings: RunSettings, cause: str, hint: str | None) -> None:
    """Print an error; where standard error is a log of JSON, as a record."""
    if settings.log_format == "json":
        logger.error("%s", cause, extra={"hint": hint})
    else:
        print_error(cause, hint)


def _trace_hint(settings: RunSettings) -> str | None:
    return None if settings.log_level == "debug" else "--log-level debug shows the whole traceback"
