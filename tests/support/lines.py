"""One connection of the protocol `lines`, and the answers that it has written."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastrpc import ServerConfig
from fastrpc._core.io.session import Session
from fastrpc._core.link.contract import Wire
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.link import Link
from fastrpc._core.server.openings import Openings
from fastrpc_harness.line_wire import LineWire
from tests.support.kept_connection import gate_for
from tests.support.lived import COLUMNS, LivedConnection, lived
from tests.support.shop import Shop
from tests.support.still_transport import StillTransport

__all__ = ["LineTalk", "line_talk", "lines", "link_of", "said"]


def link_of(gate: Gate, wire: Wire, config: ServerConfig) -> Link:
    """Make a link without a stream."""
    return Link(
        wire,
        gate=gate,
        openings=Openings(gate, config.admission.handshakes),
        timeouts=config.timeouts,
        keepalive=config.keepalive,
    )


@asynccontextmanager
async def lines(**options: Any) -> AsyncIterator[LivedConnection]:
    """Yield a connection of a server, over a transport that leads nowhere; the options are as in `lived`."""
    async with lived("lines", **options) as connection:
        yield connection


class LineTalk(LivedConnection):
    """A connection of a gate without a server; the options are the parts of its wire."""

    def __init__(self, gate: Gate, config: ServerConfig, **options: bool) -> None:
        self.gate = gate
        self.way = COLUMNS["lines"]
        self.transport = StillTransport()
        self.engine = link_of(gate, LineWire(**options), config)
        self.session = Session(self.engine, loop=asyncio.get_running_loop())
        self.session.connection_made(self.transport)


@asynccontextmanager
async def line_talk(
    shop: Shop | None = None, *, config: ServerConfig | None = None, **options: bool
) -> AsyncIterator[LineTalk]:
    """Yield a connection of a gate; it is gone before the gate closes."""
    config = config or ServerConfig()
    async with gate_for(shop or Shop(), config=config) as gate:
        connection = LineTalk(gate, config, **options)
        try:
            yield connection
        finally:
            connection.lose()


def said(connection: LivedConnection) -> list[str]:
    """Return the lines that were written, sorted."""
    return sorted(connection.transport.written.decode().splitlines())
