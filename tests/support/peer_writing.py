"""Writing to a peer that may have closed the connection."""

import asyncio

__all__ = ["write_to"]


def write_to(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write without waiting for the peer to read; data for a connection that has ended is dropped.

    After a reset a stream of uvloop raises RuntimeError, a stream of asyncio drops the data: a test that writes while
    the server may close fails on one loop, and on a busy machine alone.
    """
    if not writer.transport.is_closing():
        writer.write(data)
