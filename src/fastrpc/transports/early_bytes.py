"""Bytes that came before their receiver was known."""

import asyncio
from collections.abc import Callable

__all__ = ["replay"]


def replay(early: bytes, transport: asyncio.Transport, taker: Callable[[], asyncio.BufferedProtocol]) -> None:
    """Feed bytes to the protocol that `taker` returns, asked before each piece: it may pass its transport on.

    Pausing the transport does not hold the bytes back, so they have to be few: at most one first read, for which a
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
