"""Bytes that were received before their protocol was known."""

import asyncio
from collections.abc import Callable

__all__ = ["replay"]


def replay(early: bytes, transport: asyncio.Transport, taker: Callable[[], asyncio.BufferedProtocol]) -> None:
    """Feed bytes to the protocol that `taker` returns. It is called for each piece, as the protocol may change.

    Pausing the transport does not delay these bytes, so there may be only few: at most one first read, for which a
    session has room.

    Raises:
        RuntimeError: the protocol's buffer is full.
    """
    rest = memoryview(early)
    while rest and not transport.is_closing():
        protocol = taker()
        with memoryview(protocol.get_buffer(len(rest))) as place:
            size = min(len(rest), len(place))
            place[:size] = rest[:size]
        if size == 0:
            raise RuntimeError(
                f"{type(protocol).__name__} is full: {len(rest)} bytes that came early are left"
            )
        protocol.buffer_updated(size)
        rest = rest[size:]
