"""Descriptions of services by the HTTP gateway: `/openapi.json`, the page `/docs` that calls them, and `/client.js`.

The descriptions need no identity and contain no data. If callers are authenticated, the document contains only methods
that its reader may call: public methods, and with a token also the methods that the token's owner may call. With its
Content-Security-Policy the page can load only files of this server.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from html import escape
from importlib import resources
from typing import Final
from urllib.parse import quote

import msgspec

from fastrpc.config import HTTP
from fastrpc.openapi.document import openapi_document
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.server.http.paths import HttpAnswer, HttpRequest, Path

__all__ = ["pages"]

#: The Content-Security-Policy: the page may load only files of this server, has no inline script, and may not be
#: framed.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'"
)

_PAGE_FIELDS: Final = (
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
)

#: The most documents that are cached. Callers with the same permissions share a document.
_MOST_KEPT: Final = 32

_SCRIPT: Final = "text/javascript; charset=utf-8"

#: The files by path, with their media types.
_FILES: Final = {
    "/docs": ("index.html", "text/html; charset=utf-8"),
    "/docs/page.js": ("page.js", _SCRIPT),
    "/docs/calls.js": ("calls.js", _SCRIPT),
    "/docs/commands.js": ("commands.js", _SCRIPT),
    "/docs/fields.js": ("fields.js", _SCRIPT),
    "/docs/form.js": ("form.js", _SCRIPT),
    "/docs/method.js": ("method.js", _SCRIPT),
    "/docs/parts.js": ("parts.js", _SCRIPT),
    "/docs/schemas.js": ("schemas.js", _SCRIPT),
    "/docs/values.js": ("values.js", _SCRIPT),
    "/docs/page.css": ("page.css", "text/css; charset=utf-8"),
    "/client.js": ("client.js", _SCRIPT),
}


def pages(
    services: Sequence[ServiceDefinition], options: HTTP, *, schemes: Sequence[str] = ()
) -> dict[str, Path]:
    """Return the handlers of the pages by path.

    Args:
        services: the server's services, to which others may be added.
        options: the settings of the gateway.
        schemes: the schemes of credentials that the gateway accepts.
    """
    document = _Document(services, options, schemes)
    shown = {path: _page(partial(_file, name, kind)) for path, (name, kind) in _FILES.items()}
    described = Path(verbs=("GET",), handle=document.answer, needs_identity=bool(schemes))
    index = _page(
        lambda request: HttpAnswer(
            200,
            "text/html; charset=utf-8",
            _index(options, quote(options.root_path + request.root)),
            _PAGE_FIELDS,
        )
    )
    return {"/": index, **shown, "/openapi.json": described}


class _Document:
    """The OpenAPI document for each set of allowed methods, created on the first request for it."""

    def __init__(self, services: Sequence[ServiceDefinition], options: HTTP, schemes: Sequence[str]) -> None:
        self._services = services
        self._about = options.openapi
        self._root_path = options.root_path
        self._schemes = schemes
        self._described: tuple[ServiceDefinition, ...] = ()
        # Documents by the methods in them and the path of the gateway.
        self._kept: dict[tuple[frozenset[str] | None, str], bytes] = {}

    def answer(self, request: HttpRequest) -> HttpAnswer:
        """Return the document."""
        services = tuple(self._services)
        if services != self._described:
            self._kept.clear()
            self._described = services
        key = self._names_for(request) if self._schemes else None, self._root_path + request.root
        content = self._kept.get(key)
        if content is None:
            content = self._kept[key] = self._content(*key)
            if len(self._kept) > _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        fields = (*_PAGE_FIELDS, ("Vary", "Authorization")) if self._schemes else _PAGE_FIELDS
        return HttpAnswer(200, "application/json", content, fields)

    def _names_for(self, request: HttpRequest) -> frozenset[str]:
        """Return the methods that the reader may call."""
        names = (method.full_name for service in self._described for method in service.methods.values())
        found = ((name, request.routes.get(name)) for name in names)
        return frozenset(name for name, route in found if route is not None and request.may_call(route))

    def _content(self, names: frozenset[str] | None, root: str) -> bytes:
        may_call = None if names is None else lambda method: method.full_name in names
        about = self._about
        if root and not about.servers:
            about = replace(about, servers=(quote(root),))
        return msgspec.json.encode(
            openapi_document(self._described, about=about, schemes=self._schemes, may_call=may_call)
        )


def _page(answer: Callable[[HttpRequest], HttpAnswer]) -> Path:
    return Path(verbs=("GET",), handle=answer)


def _index(options: HTTP, root: str) -> bytes:
    """Return the page at `/`: links to the enabled pages."""
    title = escape(options.openapi.title or "fastrpc")
    links = {"/docs": "the methods, to read and to call", "/openapi.json": "the same for programs (OpenAPI)"}
    links["/client.js"] = "a module for scripts of pages"
    lines = [f'<li><a href="{root}{path}">{root}{path}</a>: {text}</li>' for path, text in links.items()]
    others = {"/jsonrpc": options.jsonrpc, "/mcp": options.mcp, "/ws/": options.websocket}
    lines += [f"<li>{root}{path}</li>" for path, is_on in others.items() if is_on]
    body = "\n".join(lines)
    return f"<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n{body}\n</ul>\n".encode()


def _file(name: str, media_type: str, request: HttpRequest) -> HttpAnswer:
    return HttpAnswer(200, media_type, _content(name), _PAGE_FIELDS)


@cache
def _content(name: str) -> bytes:
    return resources.files("fastrpc.openapi").joinpath("site", name).read_bytes()
