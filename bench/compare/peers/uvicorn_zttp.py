"""uvicorn with zttp, a parser in Zig, and uvloop, with an ASGI application, JSON by msgspec."""

from typing import Any, Literal

import zttp  # noqa: F401  (uvicorn imports it only once it serves)

from bench.compare.http_application import asgi_application
from bench.compare.http_server import HttpServer
from bench.compare.peers.base import Peer
from bench.compare.uvicorn_server import UvicornServer


class UvicornZttp(UvicornServer, HttpServer):
    """One uvicorn worker without a framework."""

    parser: Literal["httptools", "zttp"] = "zttp"

    def application(self) -> Any:
        return asgi_application


PEERS: tuple[Peer, ...] = (
    UvicornZttp("uvicorn_zttp", "uvicorn, zttp, uvloop", family="uvicorn, zttp", by_default=False),
)
