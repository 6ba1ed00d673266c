"""Bytes that came before it was known who takes them."""

import asyncio
from collections.abc import Callable

__all__ = ["replay"]


def replay(early: bytes, transport: asyncio.Transport, taker: Callable[[], asyncio.BufferedProtocol]) -> None:
    """Feed bytes to a protocol, which is asked for before each piece: one may pass its transport on to another.

    A protocol that pauses its transport gets them all the same, so they have to be few: sessions have room for more
    than a first read brings.

    Raises:
        RuntimeError: the protocol has no room for them.
    """
    rest = memoryview(early)
    while rest and not transport.is_closing():
        protocol = taker()
        with memoryview(protocol.get_buffer(len(rest))) as place:
            size = min(len(rest), len(place))
            place[:size] = rest[:size]
        if size == 0:
            raise RuntimeError(f"{type(protocol).__name__} has no room for {len(rest)} bytes that came early")
        protocol.buffer_updated(size)
        rest = rest[size:]
