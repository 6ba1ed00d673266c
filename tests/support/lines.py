"""One connection of the protocol `lines`, and the answers that it has written."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastrpc import ServerConfig
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.link import Link
from fastrpc._core.server.openings import Openings
from fastrpc_harness.line_wire import LineWire
from tests.support.lived import LivedConnection, lived

__all__ = ["lines", "link_of", "said"]


def link_of(gate: Gate, wire: LineWire, config: ServerConfig) -> Link:
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


def said(connection: LivedConnection) -> list[str]:
    """Return the lines that were written, sorted."""
    return sorted(connection.transport.written.decode().splitlines())
