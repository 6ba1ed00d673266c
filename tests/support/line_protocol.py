"""The protocol `lines` of servers, whose wire is in the harness."""

from fastrpc._core.server.link import Link
from fastrpc.protocols.base import Match, ServerParts, linked, register
from fastrpc_harness.line_wire import LineWire

__all__ = ["line_link"]


def line_link(parts: ServerParts) -> Link:
    """Make the link of a connection that speaks lines."""
    return linked(LineWire(), parts)


def detect_lines(data: bytes) -> Match:
    """Return whether a connection begins with a name."""
    return Match.YES if data[:1].isalpha() else Match.NO


register("lines", detect_lines, line_link)
