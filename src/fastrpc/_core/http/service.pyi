from collections.abc import Callable, Mapping
from typing import Any, final

from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.exchange.request_head import RequestLimits
from fastrpc._core.http.own_hosts import OwnHosts
from fastrpc._core.server.gate import Gate
from fastrpc.config import HTTP, Limits

@final
class HttpMethod:
    """A method as the gateway calls it.

    Args:
        is_safe: whether it may be called by GET.
        is_protobuf: whether its payloads are protobuf, which HTTP does not carry.
        marshal_of: returns the marshal for "json" or "msgpack"; CallError where the codec cannot carry its types.
        arguments_of: returns the arguments in a query, as JSON by name.
        mistakes_in: returns the mistakes in refused arguments in a codec, encoded in it, or None; it also takes the
            text of the first one.
        open_form: returns the reader of a form with this Content-Type; None where the method takes no file.
    """

    def __init__(
        self,
        route: MethodRoute,
        marshal_of: Callable[[str], Any],
        arguments_of: Callable[[str], bytes],
        mistakes_in: Callable[[str, bytes, str], bytes | None] | None = None,
        *,
        is_safe: bool,
        is_protobuf: bool = False,
        open_form: Callable[[str], Any] | None = None,
    ) -> None: ...
    @property
    def route(self) -> MethodRoute: ...
    @property
    def is_safe(self) -> bool: ...
    @property
    def is_protobuf(self) -> bool: ...

@final
class HttpService:
    """The state that all connections of the gateway at one address share.

    Args:
        options: the settings `ServerConfig.http`.
        bounds: the settings `ServerConfig.limits`.
        make_method: returns a route as the gateway knows it.
        paths: the fixed paths, as objects with the fields of `fastrpc.protocols.http.paths.Path`.
        hosts: hosts that are this server; None takes any, for pages too.
        web: finds calls by gRPC-Web and Connect (`fastrpc.server.web.calls`).
        sign_seconds: how long a stream may be silent before its caller gets a sign of life.
    """

    def __init__(
        self,
        gate: Gate,
        options: HTTP,
        bounds: Limits,
        make_method: Callable[[MethodRoute], HttpMethod],
        paths: Mapping[str, Any],
        hosts: OwnHosts | None,
        *,
        web: Callable[[str, str, list[tuple[bytes, bytes]]], Any] | None = None,
        sign_seconds: float = 15.0,
    ) -> None: ...
    #: Finds the method of a path, and its request (`fastrpc.server.http.routes`); None: there are no routes.
    routes: Callable[[str, bytes], tuple[MethodRoute, Any, tuple[tuple[str, MethodRoute], ...]] | None] | None
    #: Finds the client of a request by a trusted proxy (`fastrpc.server.http.forwarded`); None: none are trusted.
    proxies: Any
    #: The hosts of applications that take requests without an identity, as `hosts`.
    open_hosts: OwnHosts | None
    #: Finds the application at a path (`fastrpc.hosting.mounts`); None: none is mounted.
    mounts: Callable[[bytes], Any] | None
    @property
    def gate(self) -> Gate: ...
    @property
    def limits(self) -> RequestLimits: ...
    @property
    def paths(self) -> dict[bytes, Any]: ...
