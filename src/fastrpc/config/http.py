"""The settings of a server's HTTP gateway."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any

from fastrpc.config.validation import (
    Settings,
    check_count,
    check_flag,
    check_networks,
    check_parts,
    check_seconds,
    check_text,
    settings_class,
    wrong,
)
from fastrpc.errors import ConfigError

__all__ = ["HTTP", "HTTPLimits", "OpenAPI"]

# An origin as browsers send it: it has no path, and no slash at its end.
_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")

# The start of a path: whole segments as they are sent; no segment has a special meaning.
_PREFIX = re.compile(r"/|(?:/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+")

# The start of a path that a proxy strips. As in ASGI it has no percent signs.
_ROOT = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+,;=:@-]+)*")

_TEXT = re.compile(r"[!-~]+")

# The URL of a server in OpenAPI, or a path on the server of the document.
_SERVER = re.compile(r"(?:https?:/)?/[!-~]*")

# A host as in the field Host, without a port; "*." stands for its subdomains, "*" for any host.
_HOST = re.compile(r"(?:\*\.)?(?!\.)[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]|\*")


@settings_class
class HTTPLimits(Settings):
    """The limits of HTTP requests, in addition to `Limits`.

    Attributes:
        header_seconds: the longest time for the head of a request, from its first byte on. Too low refuses slow
            clients, too high lets strangers hold connections.
        idle_seconds: time between two requests on a connection; on a connection of HTTP/2 to a server with "grpc" in
            `ServerConfig.protocols` `Timeouts.idle` applies instead. Too low makes clients connect again, too high
            keeps unused connections open.
        body_idle_seconds: time between two pieces of a body, and time for which a client may read nothing of an answer.
            Too low cuts off slow lines, too high lets silent clients hold memory.
        headers: fields of a request. Too low refuses clients behind many proxies, too high makes requests costly.
        header_bytes: bytes of all fields of a request. Too low refuses long tokens, too high holds memory for
            strangers.
        target_bytes: bytes of the path and the query. Too low refuses long queries, too high holds memory for
            strangers.
    """

    header_seconds: float = 5.0
    idle_seconds: float = 75.0
    body_idle_seconds: float = 10.0
    headers: int = 100
    header_bytes: int = 32 * 1024
    target_bytes: int = 8 * 1024

    def __post_init__(self) -> None:
        for name in ("header_seconds", "idle_seconds", "body_idle_seconds"):
            check_seconds(self, name)
        check_count(self, "headers", 1, 1_000)
        check_count(self, "header_bytes", 256, 131_072)
        check_count(self, "target_bytes", 64, 131_072)


@settings_class
class OpenAPI(Settings):
    """The parts of `/openapi.json` that describe the whole server.

    Attributes:
        title: the title of the document; None: the names of the services.
        version: the version of the document; None: the version of the services, if all have the same.
        description: a text about the server, in Markdown.
        servers: URLs by which callers reach the server, such as "https://api.example/v1"; if empty, the server of the
            document.
        specification: the version of OpenAPI, "3.1" or "3.2". Version 3.2 describes each line and each event of a
            stream (`itemSchema`), but fewer tools read it.
    """

    title: str | None = None
    version: str | None = None
    description: str = ""
    servers: tuple[str, ...] = ()
    specification: str = "3.1"

    def __post_init__(self) -> None:
        if self.specification not in ("3.1", "3.2"):
            raise wrong(self, "specification", "'3.1' or '3.2'")
        for name in ("title", "version"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value.strip()):
                raise wrong(self, name, "a text, or None")
        check_text(self, "description")
        _check_texts(self, "servers", _SERVER, "URLs such as 'https://api.example/v1'", is_lower=False)


class _Mounted(Mapping[str, Any]):
    """The applications of a server by the start of their paths. Immutable, like all settings."""

    __slots__ = ("_by_prefix",)

    def __init__(self, by_prefix: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._by_prefix = dict(by_prefix)

    def __getitem__(self, prefix: str) -> Any:
        return self._by_prefix[prefix]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_prefix)

    def __len__(self) -> int:
        return len(self._by_prefix)

    def __hash__(self) -> int:
        # An application is any object, which may have no hash.
        return hash(frozenset(self._by_prefix))

    def __repr__(self) -> str:
        return repr(self._by_prefix)


@settings_class
class HTTP(Settings):
    """The HTTP gateway of a server whose `ServerConfig.protocols` names "http".

    The gateway accepts HTTP/1.1 and HTTP/2. If `protocols` names "grpc" but not "http", `grpc_web` and `connect` apply
    to HTTP/2, with the same origins, hosts and limits.

    Attributes:
        http2: requests by HTTP/2 as well, agreed to by ALPN, or without TLS by prior knowledge. False: HTTP/1.1 alone.
        json: methods as `POST /service/method`, in JSON or msgpack, with streams as NDJSON or server-sent events.
        jsonrpc: JSON-RPC 2.0 at `POST /jsonrpc`.
        websocket: methods by WebSocket at `/ws/service/method`, with streams both ways; with `jsonrpc`, JSON-RPC at
            `/jsonrpc` as well.
        mcp: methods with `tool=True` as tools of language models, at `POST /mcp`.
        rpcx: requests with the fields `X-RPCX-ServiceMethod` and `X-RPCX-SerializeType`, as Go's header gateway of rpcx
            accepts them.
        phobos: requests with the fields `PHOBOS-Gateway-ServiceMethod` or `PHOBOS-Gateway-SerializeType`, as the header
            gateway of Phobos accepts them.
        grpc_web: calls by gRPC-Web, from pages in browsers, at the paths of gRPC.
        connect: calls by Connect, from pages in browsers and by curl, at the paths of gRPC. A POST of JSON is a call by
            Connect only with the field `Connect-Protocol-Version: 1`.
        docs: the pages `/docs`, `/openapi.json` and `/client.js`, which describe and call the services. They need no
            identity. None follows `ServerConfig.reflection`.
        cors_origins: origins whose pages may call, such as "https://shop.example". Their scripts then act with the
            credentials of their users.
        allowed_hosts: names by which clients reach the server, in addition to "localhost", IP addresses and the
            advertised name. Any other Host is refused if callers are not authenticated, and for applications in
            `mounts` that accept requests without an identity: a page could use a name of its site that resolves to this
            server. "*.shop.example" names the subdomains of shop.example at any depth. "*" accepts any host, for
            mounted applications too; pages in browsers then call methods only under a listed name, or from
            `cors_origins`.
        mounts: ASGI applications by the start of their paths, "/" for every path that fastrpc does not serve: an
            application, or "module:name", which each worker imports. With an application at "/", `docs` is off unless
            set, so that FastAPI keeps its `/docs`.
        mount_authenticated: whether requests to mounts need an identity if the server has `authenticate`: True refuses
            others before an application sees them, False verifies nothing and leaves `Authorization` to the
            applications. In both cases rules about methods do not apply.
        root_path: the start of all paths, such as "/api", which a proxy in front strips. Mounted applications find it
            in `root_path` and `path` of their scope; OpenAPI and the first page write it in front of their paths.
        trusted_proxies: networks of proxies such as "10.0.0.0/8", and "unix" for proxies at unix sockets. Their
            `X-Forwarded-For` names the client of a request, also by gRPC; limits, delays of failed logins, audit and
            logs use this client.
        compress: results of more than 1 KiB are compressed by gzip for clients that accept it; streams never are. Do
            not compress answers that contain both a secret and text of a stranger (BREACH): call
            `current_call().http(compress=False)`.
        openapi: title, version, description and servers of `/openapi.json`.
        limits: the limits of requests.
    """

    http2: bool = True
    json: bool = True
    jsonrpc: bool = False
    websocket: bool = False
    mcp: bool = False
    rpcx: bool = False
    phobos: bool = False
    grpc_web: bool = False
    connect: bool = False
    docs: bool | None = None
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    mounts: Mapping[str, Any] = field(default_factory=_Mounted)
    mount_authenticated: bool | None = None
    root_path: str = ""
    trusted_proxies: tuple[str, ...] = ()
    compress: bool = False
    openapi: OpenAPI = field(default_factory=OpenAPI)
    limits: HTTPLimits = field(default_factory=HTTPLimits)

    def __post_init__(self) -> None:
        for name in (
            "http2",
            "json",
            "jsonrpc",
            "websocket",
            "mcp",
            "rpcx",
            "phobos",
            "grpc_web",
            "connect",
            "compress",
        ):
            check_flag(self, name)
        for name in ("docs", "mount_authenticated"):
            if getattr(self, name) is not None:
                check_flag(self, name)
        _check_texts(self, "cors_origins", _ORIGIN, "origins such as 'https://shop.example'")
        _check_texts(
            self,
            "allowed_hosts",
            _HOST,
            "host names without a port, such as 'shop.example', '*.shop.example' for its subdomains, '*' for any",
        )
        _check_texts(self, "trusted_proxies", _TEXT, "networks such as '10.0.0.0/8', or 'unix'")
        check_networks(self, "trusted_proxies", or_else=("unix",))
        _check_mounts(self)
        if not (isinstance(self.root_path, str) and _ROOT.fullmatch(self.root_path)):
            raise wrong(
                self, "root_path", "the start of a path such as '/api', without a slash at its end, or ''"
            )
        check_parts(self, limits=HTTPLimits, openapi=OpenAPI)


def _check_mounts(settings: Any) -> None:
    """Refuse anything but applications, or their import strings, by prefixes; store a copy."""
    value = settings.mounts
    if not isinstance(value, Mapping) or not all(
        isinstance(prefix, str) and _PREFIX.fullmatch(prefix) for prefix in value
    ):
        raise wrong(settings, "mounts", "a mapping from prefixes such as '/' or '/shop' to ASGI applications")
    for prefix, application in value.items():
        if not (callable(application) or (isinstance(application, str) and ":" in application)):
            raise ConfigError(
                f"HTTP.mounts[{prefix!r}] is {application!r:.200}, it must be an ASGI application or 'module:name'"
            )
    object.__setattr__(settings, "mounts", _Mounted(value))


def _check_texts(
    settings: Any, name: str, form: re.Pattern[str], allowed: str, *, is_lower: bool = True
) -> None:
    """Refuse anything but a sequence of texts of a form, and store it as a tuple."""
    value = getattr(settings, name)
    if not isinstance(value, tuple | list):
        raise wrong(settings, name, f"a tuple of {allowed}", hint=f"write {name}=('…',)")
    for item in value:
        if not (isinstance(item, str) and form.fullmatch(item)):
            spelling = f"*{item}" if isinstance(item, str) and item[:1] == "." else ""
            raise ConfigError(
                f"{type(settings).__name__}.{name} has {item!r:.200}, it takes {allowed}",
                hint=f"write {spelling!r}" if spelling and form.fullmatch(spelling) else None,
            )
    object.__setattr__(settings, name, tuple(item.lower() if is_lower else item for item in value))
