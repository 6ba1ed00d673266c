"""The common part of `fastrpc registry`, `store`, `broker` and `relay`: one service as a separate program."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple, NoReturn, Protocol

import typer

from fastrpc.auth.policy import Policy
from fastrpc.auth.static_tokens import StaticTokens
from fastrpc.cancelling import cancelled
from fastrpc.cli.hosted_options import HostedOptions
from fastrpc.cli.listening import check_encrypts, checked_level, server_tls
from fastrpc.cli.log_output import install_logging
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import print_json, reported
from fastrpc.cli.serving.reports import run_reported
from fastrpc.cli.settings import LogLevel, RunSettings
from fastrpc.config import TLS, ServerConfig
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.hosted.rights import ServiceRights, rights_of
from fastrpc.hosted.server import check_hosted, url_of
from fastrpc.server.admin.opening import check_admin
from fastrpc.server.server import Server
from fastrpc.workers.plan import ExitCode, Plan, Started
from fastrpc.workers.serve import addresses_of
from fastrpc.workers.serve import run as run_plan

__all__ = ["EndingService", "HostedAccess", "HostedParts", "serve_hosted"]


class HostedAccess(NamedTuple):
    """The access of callers to a service: their identities, their rights, and the certificates."""

    authenticate: StaticTokens | None
    rights: ServiceRights | None
    tls: TLS | None


class EndingService(Protocol):
    """A service that may end by itself."""

    @property
    def failure(self) -> Exception | None:
        """The error that ended the service; None while it serves."""

    async def failed(self) -> Exception:
        """Wait for the error that ends the service."""


@dataclass(frozen=True, slots=True)
class HostedParts:
    """The service of a program, once its options are checked."""

    make: Callable[[], Any]
    config: ServerConfig

    #: A context that is entered while the server listens, as in a `Plan`.
    beside: Callable[[Any], AbstractAsyncContextManager[Any]] | None = None

    #: Called after each reload of the server, as in a `Plan`.
    on_reload: Callable[[], None] = lambda: None

    #: The service, if it may end by itself. When it ends, its server is drained.
    ending: "EndingService | None" = None

    #: Returns the URL for clients from an address; None: the URL has the scheme of the service.
    url_of: Callable[[Address], str] | None = None

    #: Returns further URLs of the service, by their kind.
    further_urls: Callable[[], Mapping[str, str]] = dict


def serve_hosted(
    name: Literal["registry", "store", "broker", "relay"],
    options: HostedOptions,
    prepare: Callable[[HostedAccess], HostedParts],
    *,
    further: Callable[[], Sequence[Address]] = tuple,
) -> NoReturn:
    """Serve until the program has to end, and exit.

    Args:
        name: the command, which is also the scheme of the service's URL.
        prepare: checks the options that only this command has, and returns the service.
        further: returns the addresses in the options that only this command has.
    """
    with reported(ExitCode.USAGE):
        level: LogLevel = checked_level(options.log_level) or "info"
        addresses = addresses_of(options.address)
        for address in addresses:
            check_hosted(address)
        files = {"--tls-cert": options.tls_cert, "--tls-key": options.tls_key, "--tls-ca": options.tls_ca}
        admin = [] if options.admin_address is None else addresses_of(options.admin_address)
        check_encrypts(files, (*addresses, *admin, *further()))
        access = _access(name, options)
        parts = prepare(access)
        pages = {name: getattr(options, name) for name in ("admin_address", "admin_token", "admin_operators")}
        config = replace(parts.config, **pages)
        check_admin(config, has_registry=False)
        plan = Plan(
            load=lambda: [parts.make()],
            addresses=addresses,
            config=config,
            authenticate=access.authenticate,
            authorize=access.rights,
            on_started=_teller(name, parts, as_json=options.as_json),
            beside=partial(_beside, parts),
            on_reload=parts.on_reload,
        )
    texts = tuple(str(one) for one in addresses)
    settings = RunSettings(app=None, addresses=texts, workers=1, log_level=level, config=ServerConfig())
    install_logging(level, is_demanded=True)
    code = run_reported(lambda: run_plan(plan), settings)
    failure = None if parts.ending is None else parts.ending.failure
    with reported(ExitCode.FAILED):
        if failure is not None:
            raise failure
    raise typer.Exit(code)


@asynccontextmanager
async def _beside(parts: HostedParts, server: Server) -> AsyncIterator[None]:
    ending = nullcontext() if parts.ending is None else _ending_with(parts.ending, server)
    beside = nullcontext() if parts.beside is None else parts.beside(server)
    async with ending, beside:
        yield


@asynccontextmanager
async def _ending_with(service: EndingService, server: Server) -> AsyncIterator[None]:
    """Drain the server if its service ends by itself while the block runs."""

    async def end() -> None:
        await service.failed()
        if not server.is_draining:
            signal.raise_signal(signal.SIGTERM)

    ending = asyncio.create_task(end())
    try:
        yield
    finally:
        await cancelled([ending])


def _access(name: str, options: HostedOptions) -> HostedAccess:
    if options.policy is not None and options.tokens is None:
        raise ConfigError(
            "--policy is given without --tokens: no caller would have a right", hint="give --tokens FILE"
        )
    authenticate = None if options.tokens is None else StaticTokens.from_file(options.tokens)
    policy = None if options.policy is None else Policy.from_file(options.policy)
    rights = rights_of(authenticate, policy, command=name)
    return HostedAccess(authenticate, rights, server_tls(options.tls_cert, options.tls_key, options.tls_ca))


def _teller(name: str, parts: HostedParts, *, as_json: bool) -> Callable[[Started], None]:
    def tell(started: Started) -> None:
        make_url = parts.url_of or partial(url_of, name)
        urls = [make_url(one) for one in addresses_of(started.addresses)]
        further = parts.further_urls()
        if as_json:
            print_json({"urls": urls, "process_ids": started.process_ids, **further})
            return
        for url in urls:
            stdout.print(f"{name} at ", (url, "bold"))
        for kind, url in further.items():
            stdout.print(f"{kind} at ", (url, "bold"))

    return tell
