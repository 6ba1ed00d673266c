"""The plan of `fastrpc run` and `fastrpc dev`, made of their settings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from fastrpc.auth.policy import Policy
from fastrpc.auth.static_tokens import StaticTokens
from fastrpc.cli.listening import check_encrypts
from fastrpc.cli.log_output import lower_root_level
from fastrpc.cli.serving.placing import placed
from fastrpc.cli.settings import RunSettings
from fastrpc.endpoint import Address, names_scopes
from fastrpc.errors import ConfigError
from fastrpc.handlers.import_string import check_import_string, import_from_string
from fastrpc.registries.base.scoped import open_scopes
from fastrpc.registries.base.urls import UNDIALABLE, open_registry
from fastrpc.rpc.interceptor import Interceptor, put_around_clients
from fastrpc.server.inherited import is_inherited
from fastrpc.transports.base import transport_for
from fastrpc.workers.plan import Plan, Started
from fastrpc.workers.serve import addresses_of

__all__ = ["check_advertised", "check_some_encrypted", "make_plan"]


def make_plan(settings: RunSettings, on_started: Callable[[Started], None]) -> Plan:
    """Return the plan that the settings describe.

    Raises:
        ConfigError: no source is given, an address cannot be parsed, or a file of tokens or rules cannot be used.
    """
    places = settings.places
    if settings.app is not None:
        with places.naming("app"):
            check_import_string(settings.app)
    elif not settings.config.http.mounts:
        raise ConfigError("nothing to serve", hint="name it as module:attribute, such as app:services")
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
            store=_store(settings),
            broker=_broker(settings),
            advertise=advertise,
            placed=placed(settings),
            limits=settings.limits,
            inferred=tuple(_inferred(settings)),
            on_started=on_started,
            **_access(settings),
            **traced,
        )
    if settings.registry:
        with places.naming("advertise"):
            check_advertised(plan)
    return plan


def _addresses(settings: RunSettings) -> tuple[Address, ...]:
    """Return the addresses to listen at, after checking their scopes and transports."""
    with settings.places.naming("address"):
        addresses = addresses_of(settings.addresses)
        for address in addresses:
            if names_scopes(address):
                open_scopes(address, settings.registry or None, None).close()
            elif not is_inherited(address):
                transport_for(address)
    return addresses


def _registry(settings: RunSettings) -> str | tuple[str, ...] | None:
    """Return the URL of the registry, or the URLs of several, after checking them: each process opens its own."""
    if not settings.registry:
        return None
    found = settings.registry if len(settings.registry) > 1 else settings.registry[0]
    with settings.places.naming("registry"):
        open_registry(found)
    return found


def _store(settings: RunSettings) -> str | None:
    """Return the URL of the store after checking it: each process opens the store."""
    with settings.places.naming("store"):
        if settings.store is not None:
            from fastrpc.coordination.store import open_store

            open_store(settings.store)
    return settings.store


def _broker(settings: RunSettings) -> str | None:
    """Return the URL of the broker after checking it: each process opens the broker."""
    with settings.places.naming("broker"):
        if settings.broker is not None:
            from fastrpc.brokers.broker import open_broker

            open_broker(settings.broker)
    return settings.broker


def _access(settings: RunSettings) -> dict[str, Any]:
    """Return the tokens and the policy of a plan, read from their files."""
    found: dict[str, Any] = {}
    with settings.places.naming("tokens"):
        if settings.tokens is not None:
            found["authenticate"] = StaticTokens.from_file(settings.tokens)
    with settings.places.naming("policy"):
        if settings.policy is not None:
            found["authorize"] = Policy.from_file(settings.policy)
    return found


def _inferred(settings: RunSettings) -> Iterator[str]:
    """Yield a sentence for each setting that is implied by another one."""
    if settings.has_implied_http:
        yield f"HTTP is on, as applications are mounted at {', '.join(settings.config.http.mounts)}"


def _load(app: str | None, settings: RunSettings, around_clients: Sequence[Interceptor]) -> list[Any]:
    """Import the program; its clients get the interceptors for tracing. Without a program only mounts are served."""
    put_around_clients(*around_clients)
    try:
        return [] if app is None else [import_from_string(app)]
    finally:
        lower_root_level(settings.log_level)


def _telemetry(settings: RunSettings) -> dict[str, Any]:
    """Return the fields of a plan that add tracing."""
    if not settings.otel:
        return {}
    # Imported on first use: the packages are optional.
    from fastrpc.cli.telemetry import check_sdk, telemetry
    from fastrpc.interceptors import OpenTelemetry

    check_sdk()
    return {"outermost": (OpenTelemetry(),), "foremost": (telemetry,)}


def check_some_encrypted(settings: RunSettings, options: Mapping[str, str | None]) -> None:
    """Refuse options and settings of TLS if neither an address nor the admin pages are encrypted."""
    addresses, admin = _addresses(settings), settings.config.admin_address
    with settings.places.naming("admin_address"):
        addresses += () if admin is None else addresses_of(admin)
    check_encrypts({**options, **settings.places.files_of(settings.config.tls)}, addresses)


def check_advertised(plan: Plan) -> None:
    """Refuse addresses that no client can dial, and advertised addresses without a registry."""
    if plan.registry is None:
        if plan.advertise:
            raise ConfigError(
                f"{', '.join(map(str, plan.advertise))} is advertised to no registry",
                hint="--advertise needs --registry",
            )
        return
    for address, told in zip(plan.addresses, plan.advertised(), strict=True):
        if told is None and address.host in UNDIALABLE:
            raise ConfigError(
                f"{address} is an address to listen at, no client can dial it",
                hint="name the address that clients dial: --advertise tcp://10.0.0.7:8972",
            )
