"""The page of the console: public files without data. An ASGI application at "/" answers only their paths."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any, Final, TypeAlias

from fastrpc.config import HTTP
from fastrpc.errors import ConfigError
from fastrpc.handlers.applications import FixedPaths

__all__ = ["PAGE_POLICY", "PageFiles", "with_page"]

Message: TypeAlias = MutableMapping[str, Any]

#: The policy of `/docs`, which also forbids that a text becomes a script or an element, and that a form is sent.
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

_SCRIPT: Final = "text/javascript; charset=utf-8"

#: The files by their paths, with their media types.
_FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/console/page.css": ("page.css", "text/css; charset=utf-8"),
    **{
        f"/console/{name}.js": (f"{name}.js", _SCRIPT)
        for name in ("acts", "address", "blocks", "chart", "csv", "graph", "morph", "page", "plots", "shown")
    },
}


def with_page(http: HTTP) -> HTTP:
    """Return the settings of a gateway with the page; unchanged settings if its documents are off.

    Raises:
        ConfigError: another application is mounted: everybody could reach it, as everybody can reach the page.
    """
    if http.mounts:
        raise ConfigError(
            f"HTTP.mounts has {', '.join(http.mounts)}, and a console serves only its own page",
            hint="serve other applications by another program",
        )
    if http.docs is False:
        return http
    return replace(http, docs=True, mounts={"/": PageFiles()}, mount_authenticated=False)


class PageFiles(FixedPaths):
    """Answers requests for the files, which the console's server calls as an application of ASGI."""

    paths = frozenset(path.encode() for path in _FILES)

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan":
            for phase in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{phase}.complete"})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await _answer(scope["path"].removeprefix(scope.get("root_path", "")), scope["method"], send)


async def _answer(path: str, verb: str, send: Callable[[Message], Awaitable[None]]) -> None:
    name, kind = _FILES[path]
    status, content = 200, _content(name)
    if verb not in ("GET", "HEAD"):
        status, kind, content = 405, "text/plain; charset=utf-8", b"pages are read by GET\n"
    fields = {
        "content-type": kind,
        "content-length": str(len(content)),
        "cache-control": "no-store",
        "content-security-policy": PAGE_POLICY,
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        **({"allow": "GET, HEAD"} if status == 405 else {}),
    }
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if verb == "HEAD" else content})


@cache
def _content(name: str) -> bytes:
    return resources.files("fastrpc.console").joinpath("site", name).read_bytes()
