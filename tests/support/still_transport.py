"""A transport without a peer: it keeps written bytes, and records its calls."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["StillTransport"]


class StillTransport(asyncio.Transport):
    """A transport that leads nowhere."""

    def __init__(self) -> None:
        self.extra: dict[str, Any] = {"peername": "nobody"}
        super().__init__(self.extra)
        self.written = b""
        #: Bytes of output that wait here, as reported to the connection.
        self.untaken = 0
        self.is_paused = False
        self.is_broken = False
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_broken:
            raise ValueError("the transport is broken")
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.untaken

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever full."""

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.is_aborted

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self.is_aborted = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    @contextmanager
    def something_unread(self) -> Iterator[None]:
        """Let the system have received a byte that nobody has read."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.send(b"x")
            self.extra["socket"] = ours
            yield
            del self.extra["socket"]

    @contextmanager
    def something_untaken(self) -> Iterator[None]:
        """Let the peer leave the last output unread."""
        self.untaken = 1
        yield
        self.untaken = 0
