"""The applications of `HTTP(mounts={"/": app})`: paths, requests, startup and shutdown."""

import asyncio
import contextlib
import copy
import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self

from fastrpc._core.base.histogram import default_registry
from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.http.mounted_request import (
    GRACE_SECONDS,
    ClientGoneError,
    MountedRequest,
    current_request,
)
from fastrpc._core.server.gate import Gate
from fastrpc.config import ServerConfig
from fastrpc.errors import ConfigError
from fastrpc.handlers.applications import FixedPaths, arguments_of
from fastrpc.handlers.import_string import import_from_string
from fastrpc.hosting.mounts_cors import taken_over
from fastrpc.hosting.mounts_lifespan import Lifespan
from fastrpc.hosting.mounts_scope import scope_of
from fastrpc.rpc.marking import method
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.service import service, service_definition
from fastrpc.time_limit import time_limit

__all__ = ["Mounts"]

logger = logging.getLogger("fastrpc.server")

#: The service name of all applications in metrics and logs. The method names are their paths.
SERVICE: Final = "_mount"

#: Most methods that a warning names.
_MOST_TOLD: Final = 20

#: Other kinds of applications, recognized by their number of arguments, with hints.
_OTHER_KINDS: Final = {
    0: ("no arguments", "give an instance of a class, and the result of a function: app = make()"),
    1: ("ASGI 2", "wrap it by asgiref.compatibility.guarantee_single_callable"),
    2: ("WSGI", "wrap it by a2wsgi.WSGIMiddleware"),
}


class Mounts:
    """The applications of one server, in this process.

    Entering starts the applications; leaving ends their requests and shuts them down.

    Raises:
        ConfigError: an application cannot be imported or is not ASGI 3, or `mount_authenticated` does not fit
            `authenticate`.
    """

    def __init__(self, config: ServerConfig, gate: Gate) -> None:
        _check_identities(config, has_authentication=gate.guards.access is not None)
        self._seconds = config.timeouts.drain
        self._gate = gate
        # True if web pages of other origins can call no method. Then only applications may answer them.
        self._is_closed_to_pages = config.http.json and not config.http.cors_origins
        needs_identity = gate.guards.access is not None and bool(config.http.mount_authenticated)
        self._mounts: list[_Mount] = []
        # By the `id` of the application, since it may be mounted at several paths.
        self._lifespans: dict[int, Lifespan] = {}
        for prefix, given in sorted(config.http.mounts.items(), key=lambda item: -len(item[0])):
            application = _application(prefix, given)
            lifespan = self._lifespans.setdefault(id(application), Lifespan(application, prefix))
            self._mounts.append(_Mount(prefix, lifespan, config, needs_identity=needs_identity))
        self._started: list[Lifespan] = []

    def __call__(self, path: bytes) -> "_Mount | None":
        """Return the application at a raw path: the longest prefix of whole segments counts; None if no prefix fits."""
        for mount in self._mounts:
            if mount.has(path):
                return mount
        return None

    async def __aenter__(self) -> Self:
        try:
            for lifespan in self._lifespans.values():
                await lifespan.start()
                self._started.append(lifespan)
        except BaseException:
            await self._shut_down()
            raise
        if self._is_closed_to_pages:
            for mount in self._mounts:
                mount.warn_of_taken(self._gate.routes)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.gather(*(mount.end() for mount in self._mounts))
        await self._shut_down()

    async def _shut_down(self) -> None:
        while self._started:
            lifespan = self._started.pop()
            try:
                async with time_limit(self._seconds):
                    await lifespan.stop()
            except TimeoutError:
                logger.error(
                    "the application at %s did not shut down within %s s (Timeouts.drain)",
                    lifespan.place,
                    self._seconds,
                )


class _Mount:
    """One application at its path."""

    def __init__(
        self, prefix: str, lifespan: Lifespan, config: ServerConfig, *, needs_identity: bool
    ) -> None:
        self.place = prefix
        self._root = config.http.root_path
        self._prefix = "" if prefix == "/" else prefix
        self._exact, self._below = self._prefix.encode(), f"{self._prefix}/".encode()
        self._lifespan = lifespan
        # The console answers only its own paths; all other paths stay with the gateway.
        application: object = lifespan.application
        self._only = application.paths if isinstance(application, FixedPaths) else None
        #: True if the core refuses requests without an identity.
        self.needs_identity = needs_identity
        # `_running`: requests whose application has not returned. `_none_runs` is set when the last one returns.
        self._running: set[MountedRequest] = set()
        self._none_runs = asyncio.Event()
        #: The route of the application for the gate, which counts requests by it.
        self.route = _route(prefix, self._handle, config)

    def has(self, path: bytes) -> bool:
        """Return whether a path belongs to this application."""
        if self._only is not None:
            return path.removeprefix(self._exact) in self._only
        return path.startswith(self._below) or (path == self._exact and bool(path))

    def warn_of_taken(self, methods: Iterable[MethodRoute]) -> None:
        """Warn if methods take over routes of an application that has CORS middleware."""
        taken = taken_over(self._lifespan.application, self._prefix, methods)
        if taken:
            told = ", ".join(f"{name} ({path})" for name, path in taken[:_MOST_TOLD])
            more = f" and {len(taken) - _MOST_TOLD} more" if len(taken) > _MOST_TOLD else ""
            logger.warning(
                "the application at %s has CORS middleware, but methods take over some of its routes: %s%s. Pages of "
                "other origins get 403 there, as HTTP.cors_origins is empty: list their origins in it",
                self.place,
                told,
                more,
                extra={"event": "cors_taken_over"},
            )

    async def _handle(self, body: bytes) -> bytes:
        """Run the application for one request. `body` is unused: the application receives the body from the core."""
        request = current_request()
        socket = request.socket
        self._running.add(request)
        try:
            channel = request if socket is None else socket
            scope = scope_of(request, self._root, self._prefix, self._lifespan.state)
            await self._lifespan.application(scope, channel.receive, channel.send)
        except Exception as error:
            if not _is_of_client(error):
                raise
            # Log the traceback, since the error may hide a bug of the application.
            logger.debug("the client of a request to %s is gone", self.route.method, exc_info=True)
        finally:
            if socket is not None:
                socket.forget_messages()
            self._running.discard(request)
            if not self._running:
                self._none_runs.set()
        if socket is None:
            request.finish()
        else:
            socket.note_return()
        return b""

    async def end(self) -> None:
        """Report a disconnect to the running requests, then cancel them. Wait for some time after each step."""
        for step in (MountedRequest.leave, MountedRequest.cancel):
            self._none_runs.clear()
            for request in list(self._running):
                step(request)
            if self._running:
                with contextlib.suppress(TimeoutError):
                    async with time_limit(GRACE_SECONDS):
                        await self._none_runs.wait()
        if self._running:
            count = len(self._running)
            logger.error(
                "the application at %s still runs %d requests that were cancelled", self.place, count
            )


def _is_of_client(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, is the error by which an application learns of a disconnect."""
    found, waiting = set[int](), [error]
    while waiting:
        error = waiting.pop()
        # Causes may form a cycle.
        if error is None or id(error) in found:
            continue
        if isinstance(error, ClientGoneError):
            return True
        found.add(id(error))
        waiting += [error.__cause__ or error.__context__, *getattr(error, "exceptions", ())]
    return False


def _check_identities(config: ServerConfig, *, has_authentication: bool) -> None:
    is_needed = config.http.mount_authenticated
    if has_authentication and is_needed is None:
        raise ConfigError(
            "HTTP.mounts and authenticate are set, but HTTP.mount_authenticated is None",
            hint="True: applications get only requests with an identity; False: they get all, and check callers",
        )
    if is_needed and not has_authentication:
        raise ConfigError(
            "HTTP.mount_authenticated is True, but authenticate is not given: no request has an identity",
            hint="write authenticate=StaticTokens({…}), or another object of fastrpc.auth",
        )


def _application(prefix: str, given: Any) -> Callable[..., Any]:
    """Return the application of a setting."""
    application: Callable[..., Any] = given
    if isinstance(given, str):
        application = import_from_string(given, sought="an application of ASGI 3", example="app")
    if not callable(application):
        raise ConfigError(f"HTTP.mounts[{prefix!r}] is {application!r:.200}, it must be an ASGI application")
    kind = _OTHER_KINDS.get(arguments_of(application))
    if kind is not None:
        raise ConfigError(f"HTTP.mounts[{prefix!r}] is an application of {kind[0]}, not ASGI 3", hint=kind[1])
    return application


@service("mounts")
class _Applications:
    """The signature of every application for its route: bytes in, no result, as the application answers itself."""

    @method(public=True, codec="raw")
    async def handle(self, body: bytes) -> bytes:
        raise NotImplementedError


def _route(prefix: str, handler: Callable[..., Any], config: ServerConfig) -> MethodRoute:
    """Return the route of the application at a path."""
    definition = copy.copy(service_definition(_Applications).methods["handle"])
    definition.service, definition.name, definition.full_name = SERVICE, prefix, f"{SERVICE}.{prefix}"
    limits = config.limits
    route = MethodRoute(
        definition,
        marshal_for(definition, "raw", depth=limits.depth, items=config.memory.items),
        default_registry.counters(definition.full_name, "server", "asgi"),
        handler=handler,
        timeout=limits.longest_call,
    )
    route.is_application = True
    return route
