"""`fastrpc.asgi`: the HTTP gateway as an ASGI 3 application for other servers.

::

    scope, receive ──► request head, body ──► ExchangeTransport ──► the engine of the gateway ──► gate, handler
    send ◄── EngineAnswer, or frames ◄── ExchangeTransport ◄─────────────────────┘

Each request is passed to a new engine as HTTP/1.1, which the engine parses in C. A call takes some 30 µs, 8 of them in
the engine and its handler. So the application shares the gateway's parsing, gate, codecs, limits, error texts and rules
for browsers. An engine that accepts header fields directly would need a second implementation of these parts.
"""

import asyncio
import logging
import traceback
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final

from fastrpc._core.loop.loop_state import wrong_loop
from fastrpc.config import HTTP, ServerConfig
from fastrpc.endpoint import Address, is_local
from fastrpc.errors import ConfigError
from fastrpc.handlers.auth.access_options import Authenticate, Authorize
from fastrpc.hosting.application_requests import answer_request
from fastrpc.hosting.application_sockets import answer_socket
from fastrpc.hosting.application_transport import Surroundings
from fastrpc.limits import Addresses, ConnectionRate, Limit
from fastrpc.protocols.base import ServerParts
from fastrpc.rpc.interceptor import Interceptor
from fastrpc.rpc.refused_arguments import explain_arguments
from fastrpc.server.server import Server
from fastrpc.server.settings import checked_config
from fastrpc.workers.app import loaded
from fastrpc.workers.plan import Plan

__all__ = ["ASGIApplication", "asgi"]

#: Settings that concern the connections of a server, so an application refuses them: of ServerConfig (_OF_CONNECTIONS),
#: and of HTTP (_OF_HTTP).
_OF_CONNECTIONS: Final = ("tls", "proxy_protocol", "admin_address", "spin_microseconds", "keepalive")
_OF_HTTP: Final = ("http2", "mount_authenticated", "mounts", "root_path", "trusted_proxies")

#: Most host names whose `ServerParts` are cached: a server has few names.
_MOST_HOSTS: Final = 16

#: The placeholder address of an application, which does not listen.
_NOWHERE: Final = Address("memory", path="asgi")

#: An example address (RFC 5737) that stands for every address except loopback.
_ELSEWHERE: Final = "192.0.2.1"

logger = logging.getLogger("fastrpc.server")


@explain_arguments("asgi")
def asgi(
    *sources: Any,
    config: ServerConfig | None = None,
    interceptors: Sequence[Interceptor] = (),
    authenticate: Authenticate | None = None,
    authorize: Authorize | None = None,
    call_limits: Sequence[Limit] = (),
) -> "ASGIApplication":
    """Return an ASGI 3 application of services, for uvicorn, hypercorn or granian, or to mount in another application.

    ::

        app = fastrpc.asgi(Orders, config=ServerConfig(http=HTTP(websocket=True)))     # uvicorn orders:app

    Args:
        sources: the services, see `Server`; or one `App`.
        config: the settings, without settings of connections such as `tls` and `keepalive`, which belong to the ASGI
            server.
        interceptors, authenticate, authorize: see `Server`.
        call_limits: see `limits` of `Server`. Each process counts separately.

    Raises:
        ConfigError: the arguments are invalid, or a setting belongs to the ASGI server.
    """
    plan = Plan(
        load=lambda: sources,
        addresses=(_NOWHERE,),
        interceptors=tuple(interceptors),
        authenticate=authenticate,
        authorize=authorize,
        limits=tuple(call_limits),
        config=ServerConfig() if config is None else config,
    )
    return ASGIApplication(loaded(plan))


class ASGIApplication:
    """Services as an ASGI 3 application. Created by `fastrpc.asgi`."""

    def __init__(self, plan: Plan) -> None:
        if plan.registry is not None:
            raise ConfigError(
                "registry is given, but an ASGI application has no address to register",
                hint="leave it out, or serve by fastrpc.serve()",
            )
        edge = next((limit for limit in plan.limits if isinstance(limit, Addresses | ConnectionRate)), None)
        if edge is not None:
            raise ConfigError(
                f"call_limits has {type(edge).__name__}, but an ASGI application accepts no connections",
                hint="set it in the ASGI server, or serve by fastrpc.serve()",
            )
        self._make = partial(
            Server,
            *plan.load(),
            config=_http_only(plan.config),
            interceptors=plan.interceptors,
            authenticate=plan.authenticate,
            authorize=plan.authorize,
            limits=plan.limits,
            store=plan.store,
            broker=plan.broker,
        )
        # Create the server here, so that wrong arguments raise in this call. Each lifespan replaces it at its end.
        self._server = self._make()
        self._serving: _Serving | None = None
        # True while a lifespan is entering the sources.
        self._is_entering = False
        self._has_warned = False

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Serve one scope: `lifespan`, `http` or `websocket`."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._follow_lifespan(receive, send)
        elif kind == "http":
            await answer_request(await self._surroundings(scope), scope, receive, send)
        elif kind == "websocket":
            await answer_socket(await self._surroundings(scope), scope, receive, send)
        else:
            raise RuntimeError(f"the scope has the type {kind!r}; lifespan, http and websocket are served")

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Enter the sources, and leave them at the end, for programs whose ASGI server does not send a lifespan.

        Starlette and FastAPI do not pass the lifespan to mounted applications: enter this in the lifespan of the outer
        application.
        """
        if self._serving is not None or self._is_entering:
            raise RuntimeError("the sources of this ASGI application are entered already")
        self._is_entering = True
        try:
            await self._begin()
        finally:
            self._is_entering = False
        try:
            yield
        finally:
            try:
                # New requests are served while the server drains, and get 503 afterwards.
                await self._server.__aexit__(None, None, None)
            finally:
                self._server, self._serving = self._make(), None

    async def _follow_lifespan(
        self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Enter and leave the sources at the events of the ASGI server's lifespan."""
        await receive()
        step = "startup"
        try:
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                step = "shutdown"
                await receive()
        except Exception:
            await send({"type": f"lifespan.{step}.failed", "message": traceback.format_exc()})
            # Raise the error like Starlette, whose test client expects it. ASGI servers send no more events.
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _begin(self) -> "_Serving":
        await self._server.start()
        if self._serving is None:
            self._serving = _Serving(self._server)
        return self._serving

    async def _surroundings(self, scope: Mapping[str, Any]) -> Surroundings:
        """Return the parts of this application that a request needs. Enter the sources if no lifespan has done so."""
        serving = self._serving
        if serving is None:
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "fastrpc.asgi: the first request enters the sources, and nothing leaves them: the enclosing server "
                    "passes no lifespan; write `async with app.lifespan()` in the lifespan of the outer application"
                )
            serving = await self._begin()
        return serving.surroundings(scope)


class _Serving:
    """The state of an application while its sources are entered. It belongs to one event loop."""

    def __init__(self, server: Server) -> None:
        opened = server.opened_parts()
        opened.gate.dispatcher.listens(Address("tcp"))
        self._accepting, self._offer = opened.accepting, opened.offer
        self._loop = asyncio.get_running_loop()
        # All requests run with the context variables of the startup. Otherwise a request that waited would run with the
        # context variables of the request whose end started it.
        self._context = copy_context()
        self._parts: OrderedDict[str, ServerParts] = OrderedDict()

    def surroundings(self, scope: Mapping[str, Any]) -> Surroundings:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            raise wrong_loop("ASGI application", self._loop, loop)
        return Surroundings(self._context, self._parts_at(_host_of(scope)), self._offer.is_closed)

    def _parts_at(self, host: str) -> ServerParts:
        """Return the engine parts for requests to this host name."""
        found = self._parts.get(host)
        if found is None:
            if len(self._parts) >= _MOST_HOSTS:
                self._parts.popitem(last=False)
            found = self._parts[host] = self._accepting.parts_at(Address("tcp", host=host))
        self._parts.move_to_end(host)
        return found


def _host_of(scope: Mapping[str, Any]) -> str:
    """Return the host that decides who may read about the services, and which Host fields are accepted.

    Even if a server listens at all addresses, the scope of a request from a proxy on the same machine has loopback as
    the server's address. So loopback counts only if the client is local, too.
    """
    server, client = scope.get("server"), scope.get("client")
    host = str(server[0]) if server else ""
    return host if (client and _is_near(str(client[0]))) or not _is_near(host) else _ELSEWHERE


@lru_cache(maxsize=1024)
def _is_near(host: str) -> bool:
    return is_local(Address("tcp", host=host))


def _http_only(config: Any) -> ServerConfig:
    """Return the settings for a server that serves only HTTP and does not listen itself.

    Raises:
        ConfigError: a setting concerns connections, which another server accepts.
    """
    if not isinstance(config, ServerConfig):
        return checked_config(config)
    plain = ServerConfig()
    found = [name for name in _OF_CONNECTIONS if getattr(config, name) != getattr(plain, name)]
    found += [f"http.{name}" for name in _OF_HTTP if getattr(config.http, name) != getattr(HTTP(), name)]
    if config.protocols not in (plain.protocols, ("http",)):
        found.append("protocols")
    if found:
        raise ConfigError(
            f"ServerConfig.{found[0]} is set, but an ASGI application does not accept connections",
            hint="set it in the ASGI server, or serve by fastrpc.serve()",
        )
    return replace(config, protocols=("http",))
