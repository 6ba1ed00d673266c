"""What the HTTP gateway shows of its services: `/openapi.json`, the page `/docs` that calls them, and `/client.js`.

They need no identity and hold no data. The page's policy lets it load from its own server alone.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import resources
from typing import Final

import msgspec

from fastrpc.openapi.document import openapi_document
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.server.http.paths import HttpAnswer, HttpRequest, Path

__all__ = ["pages"]

#: Nothing but the page's own files, no inline script, in no frame.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'"
)

_PAGE_FIELDS: Final = (
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
)

#: The files by their paths, with their media types.
_FILES: Final = {
    "/docs": ("index.html", "text/html; charset=utf-8"),
    "/docs/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/docs/page.css": ("page.css", "text/css; charset=utf-8"),
    "/client.js": ("client.js", "text/javascript; charset=utf-8"),
}


def pages(services: Sequence[ServiceDefinition], *, schemes: Sequence[str] = ()) -> dict[str, Path]:
    """Return what is at the paths of the pages.

    Args:
        services: those of the server, which may get more.
        schemes: the schemes of credentials that it takes.
    """
    document = _Document(services, schemes)
    shown = {path: _page(partial(_file, name, kind)) for path, (name, kind) in _FILES.items()}
    return {**shown, "/openapi.json": _page(document.answer)}


class _Document:
    """The OpenAPI document, made when it is first asked for, and again once there are more services."""

    def __init__(self, services: Sequence[ServiceDefinition], schemes: Sequence[str]) -> None:
        self._services = services
        self._schemes = schemes
        self._described: tuple[ServiceDefinition, ...] = ()
        self._content = b""

    def answer(self, request: HttpRequest) -> HttpAnswer:
        """Return the document."""
        services = tuple(self._services)
        if not self._content or services != self._described:
            self._content = msgspec.json.encode(openapi_document(services, schemes=self._schemes))
            self._described = services
        return HttpAnswer(200, "application/json", self._content, _PAGE_FIELDS)


def _page(answer: Callable[[HttpRequest], HttpAnswer]) -> Path:
    return Path(verbs=("GET",), handle=answer)


def _file(name: str, media_type: str, request: HttpRequest) -> HttpAnswer:
    return HttpAnswer(200, media_type, _content(name), _PAGE_FIELDS)


@cache
def _content(name: str) -> bytes:
    return resources.files("fastrpc.openapi").joinpath("site", name).read_bytes()
