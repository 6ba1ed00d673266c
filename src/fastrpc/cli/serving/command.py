"""`fastrpc run` and `fastrpc dev`: serve the object that an import string names."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

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
    address_option,
    checked_format,
    checked_level,
    tls_settings,
)
from fastrpc.cli.printing import reported
from fastrpc.cli.serving.claiming import with_claim_token
from fastrpc.cli.serving.mounting import RootPath, http_settings
from fastrpc.cli.serving.placing import LabelPairs, Region, Weight, Zone, place_settings
from fastrpc.cli.serving.plans import check_advertised, check_some_encrypted, make_plan
from fastrpc.cli.serving.reports import log_as_set, print_failure, run_reported
from fastrpc.cli.serving.request_lines import print_ended
from fastrpc.cli.serving.started import print_box, print_started, print_started_json
from fastrpc.cli.settings import RunSettings, read_settings
from fastrpc.workers.plan import DEFAULT_ADDRESS, ExitCode, Plan
from fastrpc.workers.serve import run as run_plan

__all__ = ["dev", "run"]

#: The former name of `run`.
OLD_NAME = "serve"

#: Seconds that calls get to finish before the app is reloaded.
DEV_DRAIN_SECONDS = 0.5

App = Annotated[
    str | None,
    typer.Argument(
        metavar="MODULE:ATTRIBUTE",
        help="The services, such as app:services: a class, an App, a list of several, …; or an ASGI application; left "
        "out, `app` of --config.",
    ),
]
Addresses = Annotated[list[str] | None, address_option(DEFAULT_ADDRESS)]
Mounted = Annotated[
    list[str] | None,
    typer.Option(
        "--mount",
        metavar="PREFIX=APP",
        help="Serve an ASGI application below a path, such as /old=old:app; may be repeated.",
    ),
]
WorkerTimeout = Annotated[
    float | None,
    typer.Option(
        "--worker-timeout",
        metavar="SECONDS",
        help="Kill and replace a worker whose event loop does not run for this time. [default: 60]",
    ),
]
MaxCalls = Annotated[
    int | None,
    typer.Option(
        "--max-calls",
        min=1,
        metavar="N",
        help="Replace a worker once it has served N calls, 10 % more or fewer. [default: never]",
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
    list[str] | None,
    typer.Option(
        "--registry",
        "-r",
        help="Where to register, such as registry://host:port; ?token_file=FILE behind it names a token; may be "
        "repeated.",
        metavar="URL",
    ),
]
StoreURL = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="The store for scheduled methods and handlers, such as store://host:port.",
        metavar="URL",
    ),
]
BrokerURL = Annotated[
    str | None,
    typer.Option(
        "--broker",
        help="The broker for subscribers and handlers, such as broker://host:port.",
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
ClaimToken = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="The token for addresses relay:// without ?token_file=FILE.",
    ),
]
Otel = Annotated[
    bool | None, typer.Option("--otel", help="Start OpenTelemetry's SDK in each worker, and trace calls.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no line for each request and call.")]
DevLogLevelName = Annotated[
    str | None,
    typer.Option(
        "--log-level", metavar="LEVEL", help="debug, info, warning, error or critical. [default: debug]"
    ),
]


def run(
    context: typer.Context,
    app: App = None,
    address: Addresses = None,
    mount: Mounted = None,
    root_path: RootPath = None,
    workers: Workers = None,
    worker_timeout: WorkerTimeout = None,
    max_calls: MaxCalls = None,
    control: ControlSocket = None,
    takeover: TakesOver = False,
    reflection: ShowsServices = None,
    registry: RegistryURL = None,
    store: StoreURL = None,
    broker: BrokerURL = None,
    advertise: Advertised = None,
    zone: Zone = None,
    region: Region = None,
    label: LabelPairs = None,
    weight: Weight = None,
    tls_cert: ServerCertificate = None,
    tls_key: ServerKey = None,
    tls_ca: ClientAuthorities = None,
    token_file: ClaimToken = None,
    tokens: TokensFile = None,
    policy: PolicyFile = None,
    config: ConfigFile = None,
    log_level: LogLevelName = None,
    log_format: LogFormatName = None,
    otel: Otel = None,
    as_json: AddressesAsJson = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain; a second signal quits immediately.

    Settings may also be in the environment (FASTRPC_WORKERS, FASTRPC_TIMEOUTS_DRAIN, …) and in a TOML file.
    """
    with reported(ExitCode.USAGE):
        arguments = {
            "app": app,
            "address": with_claim_token(address or [], token_file) or None,
            **http_settings(mount, root_path),
            "workers": workers,
            "worker_timeout": worker_timeout,
            "max_calls": max_calls,
            "control": control and str(control),
            "reflection": reflection,
            "registry": registry or None,
            "store": store,
            "broker": broker,
            "advertise": advertise or None,
            **place_settings(zone, region, label, weight),
            "tokens": tokens and str(tokens),
            "policy": policy and str(policy),
            "log_level": checked_level(log_level),
            "log_format": checked_format(log_format),
            "otel": otel or None,
            **tls_settings(tls_cert, tls_key, tls_ca),
        }
        planned = _planned(context, arguments, config, takeover=takeover, as_json=as_json)
    raise typer.Exit(_run_checked(*planned))


def dev(
    app: App = None,
    address: Addresses = None,
    mount: Mounted = None,
    root_path: RootPath = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    log_level: DevLogLevelName = None,
) -> None:
    """Serve for development: reload the app when a file below this directory changes.

    One process, with reflection, the text of handlers' exceptions in answers, results checked against their
    annotations, a line for each request and call, debug output and a short drain.
    """
    with reported(ExitCode.USAGE):
        arguments = {
            "app": app,
            "address": address or None,
            **http_settings(mount, root_path),
            "reflection": True,
            "expose_errors": True,
            "check_results": True,
            "timeouts.drain": DEV_DRAIN_SECONDS,
            "log_level": checked_level(log_level) or "debug",
        }
        settings, _ = read_settings(arguments, os.environ, config)
        # A development server is for its developer only, so it neither registers nor shares a control socket.
        settings = replace(
            settings, registry=(), advertise=(), control=None, log_level_is_demanded=log_level is not None
        )
        plan = replace(make_plan(settings, print_box), on_ended=None if quiet else print_ended)
    log_as_set(settings)
    # A file may change twice within a second, and bytecode caches only compare whole seconds.
    sys.dont_write_bytecode = True
    from fastrpc.workers.reloader import Reloader, SourceFiles

    reloader = Reloader(plan, SourceFiles(Path.cwd()), print_failure)
    raise typer.Exit(run_reported(lambda: run_plan(plan, reloader.run), settings))


def _planned(
    context: typer.Context,
    arguments: Mapping[str, Any],
    config: Path | None,
    *,
    takeover: bool,
    as_json: bool,
) -> tuple[Plan, RunSettings, list[str]]:
    """Return the plan of `run`, its settings, and warnings about the command's old name or misspelt variables."""
    settings, warnings = read_settings(arguments, os.environ, config)
    if context.info_name == OLD_NAME:
        warnings.append(
            f"`fastrpc {OLD_NAME}` is deprecated, and a later version removes it: write `fastrpc run`"
        )
    # `takeover` is never read from the environment: the next start of the program has the same variables, and must not
    # take over.
    settings = replace(settings, takeover=takeover)
    if not settings.registry:  # An encrypted registry gets the certificates as well.
        options = {"--tls-cert": "tls.cert_file", "--tls-key": "tls.key_file", "--tls-ca": "tls.ca_file"}
        check_some_encrypted(settings, {option: arguments[key] for option, key in options.items()})
    # With --log-format json every line on stdout is JSON.
    shows_json = as_json or settings.log_format == "json"
    return make_plan(settings, print_started_json if shows_json else print_started), settings, warnings


def _run_checked(plan: Plan, settings: RunSettings, warnings: list[str]) -> ExitCode:
    """Serve a plan; refuse settings that do not fit the App, once it is loaded."""
    log_as_set(settings, warnings)
    known = [plan]

    def check(loaded: Plan) -> None:
        known.append(loaded)
        # The registry may be a setting of the App.
        with reported(ExitCode.USAGE):
            check_advertised(loaded)

    return run_reported(lambda: run_plan(plan, on_loaded=check), settings, lambda: known[-1])
