"""The fixed paths of a server's HTTP gateway, which settings enable."""

from collections.abc import Sequence

from fastrpc._core.server.gate import Gate
from fastrpc.auth.verdict import BEARER
from fastrpc.config import ServerConfig
from fastrpc.errors import ConfigError
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.server.http.json_rpc import json_rpc_path
from fastrpc.server.http.paths import Path
from fastrpc.server.http.routes import check_routes

__all__ = ["check_services", "fixed_paths"]

#: The first segments of fixed paths.
_RESERVED = frozenset({"jsonrpc", "mcp", "ws", "docs", "openapi.json", "client.js"})


def fixed_paths(
    config: ServerConfig,
    gate: Gate,
    services: Sequence[ServiceDefinition],
    *,
    reveals_services: bool,
) -> dict[str, Path]:
    """Return the handlers of fixed paths for connections at one address. Only HTTP/1.1 has fixed paths."""
    if "http" not in config.protocols:
        return {}
    depth, items = config.limits.depth, config.memory.items
    paths: dict[str, Path] = {}
    if config.http.jsonrpc:
        paths["/jsonrpc"] = json_rpc_path(depth=depth, items=items, answer_bytes=config.limits.message_bytes)
    if config.http.mcp:
        # This and the modules below are imported on first use, because few servers need them.
        from fastrpc.server.http.mcp import Tools, mcp_path

        paths["/mcp"] = mcp_path(Tools(services), depth=depth, items=items)
    # If an application is mounted at "/", its index page is used.
    is_root_taken = "/" in config.http.mounts
    if reveals_services and not is_root_taken if config.http.docs is None else config.http.docs:
        from fastrpc.server.http.pages import pages

        paths |= pages(services, config.http, schemes=() if gate.guards.access is None else (BEARER,))
        if is_root_taken:
            del paths["/"]
    return paths


def check_services(config: ServerConfig, services: Sequence[ServiceDefinition]) -> None:
    """Refuse services that cannot be offered by HTTP.

    Raises:
        ConfigError: a service has the name of a fixed path, two routes match the same path, or a method cannot be a
            tool.
    """
    for service in services:
        for name in _RESERVED.intersection(service.names.of_service()):
            raise ConfigError(
                f"the service {name!r} has the name of a fixed path of HTTP", hint="give it another name"
            )
    check_routes(services, _RESERVED)
    if config.http.mcp:
        from fastrpc.server.http.mcp import Tools

        Tools(services)()
