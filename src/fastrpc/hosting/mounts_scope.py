"""The scope of a request to a mounted application."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from fastrpc._core.calls.call_log import request_id_of
from fastrpc._core.http.mounted_request import MountedRequest
from fastrpc.endpoint import Address

__all__ = ["ASGI", "scope_of"]

#: The version of ASGI, and the version of its specification of HTTP and WebSocket.
ASGI: Final = {"version": "3.0", "spec_version": "2.5"}

_ENCRYPTED: Final = frozenset({"tls"})


def scope_of(request: MountedRequest, root: str, prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scope of a request.

    Args:
        root: the prefix that a proxy has removed from all paths, `HTTP.root_path`.
        prefix: the path at which the application is mounted, "" for "/".
        state: the lifespan state of the application.
    """
    head, call = request.head, request.call
    raw_path, _, query = head.target.partition("?")
    peer = call.peer
    scheme = "http" if request.socket is None else "ws"
    scope: dict[str, Any] = {
        "type": "http" if request.socket is None else "websocket",
        "asgi": ASGI.copy(),
        "http_version": head.version,
        "scheme": f"{scheme}s" if peer.address.scheme in _ENCRYPTED else scheme,
        "path": root + (unquote(raw_path) if "%" in raw_path else raw_path),
        "raw_path": (root + raw_path).encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": root + prefix,
        "headers": request.fields,
        "client": _client(peer.address),
        "server": _server(request.sockname),
        "state": dict(state),
        "extensions": {
            "fastrpc": {"peer": peer, "identity": call.identity, "request_id": request_id_of(call)}
        },
    }
    if request.socket is None:
        scope["method"] = head.method
    else:
        scope["subprotocols"] = request.socket.subprotocols
        scope["extensions"]["websocket.http.response"] = {}
    return scope


def _client(address: Address) -> tuple[str, int] | None:
    """Return the host and port of the client, ASGI's form; None for a unix socket."""
    return (address.host, address.port) if address.host else None


def _server(name: Any) -> tuple[str, int | None] | None:
    """Return the server's address in ASGI's form: host and port, or the path of a unix socket and None."""
    if isinstance(name, tuple):
        return name[0], name[1]
    return (name, None) if isinstance(name, str) and name else None
