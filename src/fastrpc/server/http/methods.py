"""The state that all connections of the HTTP gateway at one address share, and the gateway's view of methods."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.http.own_hosts import OwnHosts
from fastrpc._core.http.service import HttpMethod, HttpService
from fastrpc._core.payload.marshal import Marshal
from fastrpc._core.server.gate import Gate
from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address
from fastrpc.errors import CallError, ConfigError
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.marshals import codec_for, marshal_for
from fastrpc.server.http.fixed_paths import fixed_paths
from fastrpc.server.http.query import QueryArguments
from fastrpc.server.http.routes import Routes
from fastrpc.status import Status

if TYPE_CHECKING:
    from fastrpc.server.http.forms import FormReader
    from fastrpc.server.http.forwarded import TrustedProxies
    from fastrpc.server.web.calls import WebCalls

__all__ = ["SIGN_SECONDS", "http_service"]

#: Seconds without data after which a stream sends a keep-alive. Proxies wait longer before they close a connection.
SIGN_SECONDS = 15.0

logger = logging.getLogger("fastrpc.server")


def http_service(
    config: ServerConfig,
    gate: Gate,
    address: Address,
    services: Sequence[ServiceDefinition],
    *,
    reveals_services: bool,
    advertised: str = "",
    proxies: "TrustedProxies | None" = None,
) -> HttpService:
    """Return the state that all connections at an address share.

    Args:
        advertised: the host name by which callers reach the address, in addition to the address's own.
        proxies: finds the clients of trusted proxies.
    """
    paths = fixed_paths(config, gate, services, reveals_services=reveals_services)
    open_hosts = _hosts(config, address, advertised)
    # If callers need a token, accept any host: a page that a browser loads under another host name has no token.
    bounds, hosts = config.limits, open_hosts if gate.guards.access is None else None
    if hosts is not None and hosts.takes_any:
        logger.warning(
            "requests to any host are taken (HTTP.allowed_hosts has '*'): pages in browsers may call methods only "
            "under listed names, or from HTTP.cors_origins; mounted applications protect themselves",
            extra={"event": "any_host"},
        )
    web = _web_calls(config, gate)
    service = HttpService(
        gate, config.http, bounds, partial(_method, config), paths, hosts, web=web, sign_seconds=SIGN_SECONDS
    )
    if config.http.json:
        service.routes = Routes(gate.routes)
    service.proxies, service.open_hosts = proxies, open_hosts
    return service


def _method(config: ServerConfig, route: MethodRoute) -> HttpMethod:
    """Return a method for the gateway."""
    definition = route.definition
    carried_by = codec_for(definition, "json")

    def marshal_of(codec: str) -> Marshal:
        if carried_by == "protobuf":
            raise CallError(Status.UNIMPLEMENTED, "it travels by protobuf alone", processed="no")
        try:
            if codec == "json" and definition.has_array_result:
                raise ConfigError("the result is a numpy array, which json cannot carry")
            return marshal_for(
                definition, codec, depth=config.limits.depth, items=config.memory.items, by_name=True
            )
        except ConfigError as error:
            raise CallError(Status.UNIMPLEMENTED, error.message, processed="no") from None

    arguments_of = QueryArguments(definition)
    return HttpMethod(
        route,
        marshal_of,
        arguments_of,
        None if definition.passes_on else partial(_mistakes_in, definition),
        is_safe=definition.safe,
        is_protobuf=carried_by == "protobuf",
        open_form=partial(_open_form, definition, arguments_of) if definition.takes_upload else None,
    )


def _open_form(definition: MethodDefinition, arguments_of: QueryArguments, content_type: str) -> "FormReader":
    """Return the parser of a form whose file is the call's stream. Raises CallError for a malformed Content-Type."""
    # Imported on first use, because few services accept files.
    from fastrpc.server.http.forms import FormReader, boundary_of

    stream = definition.signature.stream
    assert stream is not None
    return FormReader(boundary_of(content_type), stream.name, arguments_of.of_pairs)


def _mistakes_in(definition: MethodDefinition, codec: str, payload: bytes, first: str) -> bytes | None:
    """Return all mistakes in refused arguments, encoded in their codec; None if every part alone is valid."""
    # Imported on first use, because callers seldom make mistakes.
    import msgspec

    from fastrpc.rpc.schema.mistakes import mistakes_in

    found = mistakes_in(definition, codec, payload, first)
    encode = msgspec.json.encode if codec == "json" else msgspec.msgpack.encode
    return encode(found) if found else None


def _web_calls(config: ServerConfig, gate: Gate) -> "WebCalls | None":
    """Return the object that recognises calls by gRPC-Web and Connect; None if neither is served."""
    if not (config.http.grpc_web or config.http.connect):
        return None
    # Imported on first use, because it imports the gRPC packages.
    from fastrpc.server.web.calls import WebCalls

    return WebCalls(gate, config)


def _hosts(config: ServerConfig, address: Address, advertised: str) -> OwnHosts | None:
    """Return the host names of this server; None to accept any host, where browsers cannot connect."""
    if address.scheme in {"unix", "memory"}:
        return None
    own = (host.lower() for host in (address.host, advertised) if host)
    return OwnHosts({"localhost", *own, *config.http.allowed_hosts})
