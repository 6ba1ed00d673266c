"""One connection of HTTP/2 whose pages a test answers, and its client by python `h2`.

async with served_pages() as link:
    stream = link.ask("GET", "/page")
    await link.talk()
    link.page.answer(200, b"", b"hello")
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastrpc import Server, ServerConfig
from fastrpc._core.exchange.request_head import RequestLimits
from fastrpc._core.grpc.grpc_wire import GrpcWire
from fastrpc._core.link.contract import Wire
from fastrpc.protocols.base import ServerParts, linked, register
from fastrpc.protocols.grpc import detect_http2
from fastrpc_harness.driven_pages import DrivenPages, DrivenRequest
from tests.support.grpc_peer import Fields, ServedGrpc
from tests.support.raw_methods import Raw

__all__ = ["DrivenLink", "held_upload", "page_wire", "served_pages"]

PROTOCOL = "driven_pages"


def page_wire(parts: ServerParts, pages: DrivenPages, *, serves_grpc: bool = True) -> Wire:
    """Make the wire of a connection with pages."""
    config = parts.config
    return GrpcWire(
        gate=parts.gate,
        keepalive=config.keepalive,
        limits=config.limits,
        memory=config.memory,
        pages=pages,
        serves_grpc=serves_grpc,
    )


class _Making:
    """Makes the wire of the next connection."""

    make: Callable[[ServerParts], Wire]


register(PROTOCOL, detect_http2, lambda parts: linked(_Making.make(parts), parts), agreed=("h2",))


class DrivenLink(ServedGrpc):
    """A connection with pages, and its client."""

    pages: DrivenPages

    def ask(
        self,
        method: str,
        path: str,
        fields: Fields = (),
        *,
        body: bytes | None = None,
        authority: str = "localhost",
    ) -> int:
        """Send a request, and return its stream; with a body it is sent whole, if the windows have room."""
        stream = self.open(path, fields, method=method, ends=body is None, kind=None, authority=authority)
        if body is not None:
            self.send(stream, body, ends=True)
        return stream

    def upload(self, path: str, fields: Fields = ()) -> int:
        """Send the head of a POST, and return its stream."""
        return self.open(path, fields, kind=None)

    @property
    def page(self) -> DrivenRequest:
        """The last request."""
        return self.pages.requests[-1]

    @property
    def told(self) -> list[tuple[Any, ...]]:
        """The events that the application of the last request received, after its head."""
        # It learns of its end with the next read or check.
        self.look(0)
        return self.page.events[1:]


@asynccontextmanager
async def served_pages(
    *,
    takes: bool = True,
    serves_grpc: bool = True,
    pages: dict[str, Any] | None = None,
    authenticate: Any = None,
    **settings: Any,
) -> AsyncIterator[DrivenLink]:
    """Serve one connection, whose opening is over; it is gone before the server closes.

    Args:
        pages: options of the pages.
        settings: of the server.
    """
    driven = DrivenPages(RequestLimits(), **(pages or {}))
    _Making.make = lambda parts: page_wire(parts, driven, serves_grpc=serves_grpc)
    config = ServerConfig(protocols=(PROTOCOL,), **settings)
    server = Server(Raw(), config=config, authenticate=authenticate)
    await server.start()
    link = DrivenLink(server, takes=takes)
    link.pages = driven
    try:
        link.h2.initiate_connection()
        await link.talk()
        yield link
    finally:
        link.lose()
        await server.close()


async def held_upload(link: DrivenLink, size: int = 100) -> int:
    """Send the begin of a body whose second part waits as the application holds it; return the stream."""
    stream = link.upload("/upload")
    link.send(stream, b"a")
    await link.talk()
    link.page.hold(True)
    link.send(stream, b"b" * size)
    await link.talk()
    return stream
