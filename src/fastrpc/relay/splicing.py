"""Two connections that forward their bytes to each other, with back-pressure; each direction ends separately.

::

    caller ◄──► end ◄──► end ◄──► server      what one end cannot send stops the other end's reading
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from fastrpc.transports.tcp import set_options

__all__ = ["READ_BYTES", "SplicedEnd", "SplicedPair"]

#: Bytes of one read. All ends share one buffer, since its bytes are sent immediately: an idle pair holds no buffer.
READ_BYTES: Final = 262_144

#: Seconds after which the system drops a connection that acknowledges nothing, or whose receive window stays zero.
#: Callers and servers give up earlier; a relay must not cut a slow reader before they do.
_SILENCE_SECONDS: Final = 120.0


class SplicedPair:
    """A caller and its server.

    Args:
        place: the buffer into which all ends receive.
        on_end: called once, after both connections are lost.
    """

    __slots__ = ("_on_end", "_open", "caller", "place", "server")

    def __init__(
        self,
        caller: asyncio.Transport,
        server: asyncio.Transport,
        place: memoryview,
        on_end: Callable[["SplicedPair"], None],
    ) -> None:
        self.place = place
        self.caller = SplicedEnd(self, caller)
        self.server = SplicedEnd(self, server)
        self.caller.other, self.server.other = self.server, self.caller
        self._on_end = on_end
        self._open = 2

    def begin(self, first: bytes) -> None:
        """Take over both connections, and send the first bytes to the server."""
        self.server.transport.write(first)
        for end in (self.caller, self.server):
            transport = end.transport
            with suppress(OSError):
                set_options(transport.get_extra_info("socket"), _SILENCE_SECONDS)
            # A loop chooses how it reads for a protocol when reading begins, so reading is paused during the change.
            transport.pause_reading()
            transport.set_protocol(end)
            if not transport.is_closing():
                transport.resume_reading()

    @property
    def received_bytes(self) -> tuple[int, int]:
        """The number of bytes received from the caller and from the server."""
        return self.caller.received, self.server.received

    def abort(self) -> None:
        """Cut both connections."""
        self.caller.transport.abort()
        self.server.transport.abort()

    def ended(self, end: "SplicedEnd") -> None:
        """Forward the end of one direction; end both connections once the other direction has ended, too."""
        if end.other.has_ended:
            end.transport.close()
            end.other.transport.close()
        elif not end.other.transport.is_closing():
            end.other.transport.write_eof()

    def lost(self, end: "SplicedEnd", error: Exception | None) -> None:
        """Close the other connection after one was lost. Unsent bytes are sent first, unless there was an error."""
        self._open -= 1
        if self._open == 0:
            self._on_end(self)
        elif error is None:
            end.other.transport.close()
        else:
            # The peer has to see that the stream was cut.
            end.other.transport.abort()


class SplicedEnd(asyncio.BufferedProtocol):
    """One of the two connections."""

    __slots__ = ("_descriptor", "has_ended", "other", "pair", "received", "transport")

    def __init__(self, pair: SplicedPair, transport: asyncio.Transport) -> None:
        self.pair = pair
        self.transport = transport
        self._descriptor: int = transport.get_extra_info("socket").fileno()
        self.other: Self
        #: `received`: the bytes so far. `has_ended`: whether the peer sends no more.
        self.received = 0
        self.has_ended = False

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.pair.place

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        self.other.send(self.pair.place[:nbytes])

    def send(self, data: memoryview) -> None:
        """Send bytes. Their buffer may be overwritten when this returns."""
        transport = self.transport
        sent = 0
        if not transport.get_write_buffer_size() and not transport.is_closing():
            # Write to the socket directly: a transport might copy the bytes and send them later.
            with suppress(OSError):
                sent = os.write(self._descriptor, data)
        if sent < len(data):
            # `write` also reports an error of the socket.
            transport.write(bytes(data[sent:]))

    def eof_received(self) -> bool:
        self.has_ended = True
        self.pair.ended(self)
        return True

    def pause_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.pair.lost(self, exc)
