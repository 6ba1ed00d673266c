"""`fastrpc.App`: the services of a program together with their interceptors and settings."""

import functools
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from fastrpc.config import ServerConfig
from fastrpc.errors import ConfigError
from fastrpc.handlers.applications import is_application, makes_application
from fastrpc.handlers.auth.access_options import (
    Authenticate,
    Authorize,
    checked_authenticate,
    checked_authorize,
)
from fastrpc.limits import Limit, checked_limits
from fastrpc.place import Place, checked_place
from fastrpc.rpc.interceptor import Interceptor, checked_interceptors
from fastrpc.rpc.refused_arguments import explain_arguments
from fastrpc.workers.plan import Plan

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import RegistryOption

__all__ = ["App", "app_of", "loaded"]

A = TypeVar("A", bound=type[Any])

_DEFAULT_CONFIG = ServerConfig()


def _explaining(cls: A) -> A:
    cls.__init__ = explain_arguments("App")(cls.__init__)
    return cls


@_explaining
@dataclass(frozen=True, slots=True)
class App:
    """Bundle services with their interceptors and settings, for `fastrpc run` and `serve`.

    ::

        app = fastrpc.App([Arith, Users], interceptors=[log])       # fastrpc run module:app

    A function that returns an App, `def make() -> fastrpc.App`, may be given instead. The function is called once,
    before worker processes are forked, so it has no event loop and should start no threads. The sources run in each
    worker.

    Args:
        sources: as for `Server`: an instance, a class or function without arguments, a context manager, or a list.
        interceptors: functions around every call, the first outermost.
        authenticate, authorize: identify callers and decide on their calls; see `Server`.
        limits: how much callers may ask for, see `fastrpc.limits`.
        registry: the registry for every service, as for `serve`; `fastrpc dev` registers nothing.
        place: where the program runs, as for `serve`.
        store: the URL of a store for scheduled methods, as for `serve`.
        broker: the URL of a broker for subscribers, as for `serve`.
        config: the settings; None: the defaults.

    The command line, the environment and the settings file override `authenticate` (`--tokens`), `authorize`
    (`--policy`), `registry`, `place` (`--zone` and others, field by field), `store`, `broker` and `config`;
    `[addresses]` and `[connection_rate]` of the file add to `limits`.

    Raises:
        ConfigError: interceptors, limits, registry or config are invalid.
    """

    #: The hint in the error of `handlers/sources.py` if an App is given as a source.
    place_of_source: ClassVar[str] = (
        "give it alone to serve() or fastrpc run; annotate a function that returns one: -> fastrpc.App"
    )

    sources: Any
    interceptors: Sequence[Interceptor] = field(default=(), kw_only=True)
    authenticate: Authenticate | None = field(default=None, kw_only=True)
    authorize: Authorize | None = field(default=None, kw_only=True)
    limits: Sequence[Limit] = field(default=(), kw_only=True)
    #: Not shown, because the URL may contain a token.
    registry: "RegistryOption | None" = field(default=None, kw_only=True, repr=False)
    place: Place | None = field(default=None, kw_only=True)
    store: str | None = field(default=None, kw_only=True, repr=False)
    broker: str | None = field(default=None, kw_only=True, repr=False)
    #: Never None after construction.
    config: ServerConfig | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "interceptors", checked_interceptors(self.interceptors))
        checked_authenticate(self.authenticate)
        checked_authorize(self.authorize)
        object.__setattr__(self, "limits", checked_limits(self.limits))
        if self.config is None:
            object.__setattr__(self, "config", _DEFAULT_CONFIG)
        config = cast(ServerConfig, self.config)
        if not isinstance(config, ServerConfig):
            raise ConfigError(
                f"config is a {type(config).__name__}, it must be a ServerConfig",
                hint="write config=ServerConfig(…)",
            )
        if self.registry is not None:
            _check_registry(self.registry, config)
        if self.place is not None:
            checked_place(self.place)
        if self.store is not None:
            # Imported on first use: most servers have no store.
            from fastrpc.server.background.scheduling import check_store

            check_store(self.store)
        if self.broker is not None:
            # Imported on first use: most servers have no broker.
            from fastrpc.server.background.subscribing import check_broker

            check_broker(self.broker)


def _check_registry(registry: Any, config: ServerConfig) -> None:
    # Imported on first use: most servers have no registry.
    from fastrpc.registries.base.urls import open_registry

    # Each process opens its own registry. This call only serves to raise the error of a wrong URL here.
    open_registry(registry, tls=config.tls)


def loaded(plan: Plan) -> Plan:
    """Return a plan with its sources loaded. If the source is an App, its settings become the plan's.

    Raises:
        ConfigError: an App is combined with other sources, or a setting is given both by the plan and the App.
    """
    if plan.is_loaded:
        return plan
    sources = tuple(_flat(plan.load()))
    if (
        plan.configure is not None
        and len(sources) == 1
        and (is_application(sources[0]) or makes_application(sources[0]))
    ):
        return _mounted(plan, sources[0])
    if not any(isinstance(one, App) or _makes_app(one) for one in sources):
        return replace(plan, load=lambda: sources, is_loaded=True, place=_place(plan, None))
    if len(sources) > 1:
        raise ConfigError("an App has to be the only source", hint="put the other services into its sources")
    app = sources[0] if isinstance(sources[0], App) else _made(sources[0])
    if plan.configure is None:
        _check_given_once(plan, app)
    config = cast(ServerConfig, app.config)
    return replace(
        plan,
        load=lambda: (app.sources,),
        is_loaded=True,
        interceptors=tuple(app.interceptors),
        authenticate=app.authenticate if plan.authenticate is None else plan.authenticate,
        authorize=app.authorize if plan.authorize is None else plan.authorize,
        limits=(*plan.limits, *app.limits),
        registry=app.registry if plan.registry is None and plan.registers else plan.registry,
        place=_place(plan, app.place),
        store=app.store if plan.store is None else plan.store,
        broker=app.broker if plan.broker is None else plan.broker,
        config=config if plan.configure is None else plan.configure(config),
    )


def _mounted(plan: Plan, source: Any) -> Plan:
    """Return a command's plan with an ASGI application, or the result of its maker, mounted at "/"."""
    application = _made_application(source) if makes_application(source) else source
    config = plan.config
    if "/" in config.http.mounts:
        raise ConfigError(
            f"two applications are at '/': the one to run, and HTTP.mounts has {config.http.mounts['/']!r}",
            hint="leave one out, or mount it at a prefix such as /old",
        )
    http = replace(config.http, mounts={**config.http.mounts, "/": application})
    name = getattr(application, "__qualname__", type(application).__qualname__)
    return replace(
        plan,
        load=lambda: (),
        is_loaded=True,
        place=_place(plan, None),
        config=replace(config, http=http, protocols=_with_http(config.protocols)),
        inferred=(f"{name} is an ASGI application: it is mounted at /, and HTTP is on",),
    )


def _made_application(function: Any) -> Any:
    made = function()
    if not callable(made):
        name = getattr(function, "__qualname__", repr(function))
        if hasattr(made, "close"):
            made.close()  # A coroutine cannot run: there is no loop yet.
        raise ConfigError(
            f"{name} returned a {type(made).__name__}, it must return an ASGI application",
            hint="write it as `def`, with a `return` of the application",
        )
    return made


def _with_http(protocols: tuple[str, ...]) -> tuple[str, ...]:
    return protocols if "http" in protocols else (*protocols, "http")


def _place(plan: Plan, own: Place | None) -> Place | None:
    """Return the place of the plan, else of its App, with fields replaced by the command line."""
    place = own if plan.place is None else plan.place
    if not plan.placed:
        return place
    return checked_place(place).over(**plan.placed)


def _check_given_once(plan: Plan, app: App) -> None:
    """Refuse settings that a program passes in addition to an App. Settings of a command line override the App's."""
    given = {
        "interceptors": plan.interceptors != (),
        "authenticate": plan.authenticate is not None,
        "authorize": plan.authorize is not None,
        "limits": plan.limits != (),
        # A registry may be passed if the App has none.
        "registry": plan.registry is not None and app.registry is not None,
        "place": plan.place is not None and app.place is not None,
        "store": plan.store is not None and app.store is not None,
        "broker": plan.broker is not None and app.broker is not None,
        "config": plan.config != _DEFAULT_CONFIG,
    }
    for name, is_given in given.items():
        if is_given:
            raise ConfigError(
                f"{name} is given together with an App", hint=f"give it to the App: App(…, {name}=…)"
            )


def app_of(source: Any) -> App | None:
    """Return the App that a source is or that a function returns; None for another source."""
    if isinstance(source, App):
        return source
    return _made(source) if _makes_app(source) else None


def _flat(sources: Sequence[Any]) -> Sequence[Any]:
    """Return the sources. If there is only one source, a list, return that list."""
    while len(sources) == 1 and isinstance(sources[0], list | tuple):
        sources = sources[0]
    return sources


def _makes_app(source: Any) -> bool:
    """Return whether a function returns an App. Without an annotation, the use of App in its code decides.

    The function cannot be called to find out: functions that are sources must run only in each worker, on its loop.
    """
    while isinstance(source, functools.partial):
        source = source.func
    if isinstance(source, types.MethodType):
        source = source.__func__
    if not isinstance(source, types.FunctionType):
        return False
    annotation = source.__annotations__.get("return")
    if annotation is not None:
        return annotation is App or (isinstance(annotation, str) and annotation.rpartition(".")[2] == "App")
    names, known = source.__code__.co_names, source.__globals__
    if any(known.get(name) is App for name in names):
        return True
    # Only `fastrpc.App`, or an import of it inside the function, counts: another object may have an attribute of this
    # name.
    package = sys.modules.get("fastrpc")
    is_imported_inside = "fastrpc" in names and "fastrpc" not in known
    return "App" in names and (is_imported_inside or any(known.get(name) is package for name in names))


def _made(function: Any) -> App:
    made = function()
    if not isinstance(made, App):
        name = getattr(function, "__qualname__", repr(function))
        if hasattr(made, "close"):
            made.close()  # A coroutine cannot run: only sources, which have a loop, may be `async def`.
        raise ConfigError(
            f"{name} returned a {type(made).__name__}, it must return an App",
            hint="write it as `def`, with a `return` of the App; annotate the result of a function that makes services",
        )
    return made
