"""Bytes that came before it was known who takes them."""

import asyncio
from typing import cast

__all__ = ["replay"]


def replay(transport: asyncio.Transport, early: bytes) -> None:
    """Hand bytes to the protocol of a transport, as if they came only now.

    It may pass the transport on when it has seen some of them: the others go to the protocol that follows it.

    Raises:
        RuntimeError: the protocol has no room for them.
    """
    rest = memoryview(early)
    while rest and not transport.is_closing():
        protocol = cast(asyncio.BufferedProtocol, transport.get_protocol())
        with memoryview(protocol.get_buffer(len(rest))) as place:
            size = min(len(rest), len(place))
            place[:size] = rest[:size]
        if size == 0:
            raise RuntimeError(f"{type(protocol).__name__} has no room for {len(rest)} bytes that came early")
        protocol.buffer_updated(size)
        rest = rest[size:]
