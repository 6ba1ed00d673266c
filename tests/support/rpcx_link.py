"""Both ends of rpcx without a stream below: a served connection, and a client's translation."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from fastrpc import ClientConfig, Limits, ServerConfig
from fastrpc._core.io.session import Session
from fastrpc._core.rpcx.frames import RPCX, Profile
from fastrpc._core.rpcx.server_wire import RpcxWire
from fastrpc._core.rpcx.translation import RpcxTranslation
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.link import Link
from fastrpc._core.server.openings import Openings
from fastrpc.protocols.rpcx_client import rpcx_translation
from tests.support.kept_connection import gate_for
from tests.support.rpcx_wire import Frame, RpcxParser, frames_in
from tests.support.still_transport import StillTransport
from tests.support.waiting import eventually
from tests.support.wire_frames import Credit, SettingsFrame
from tests.support.wire_parser import Parser, Preface

__all__ = ["ServedRpcx", "TranslatedRpcx", "served_rpcx"]

READ_BYTES = 65_536


class ServedRpcx:
    """One connection of a gate, to which a test gives bytes."""

    def __init__(self, gate: Gate, profile: Profile = RPCX, *, config: ServerConfig | None = None) -> None:
        config = config or ServerConfig()
        self.openings = Openings(gate, config.admission.handshakes)
        self.wire = RpcxWire(profile, config.limits)
        self.engine = Link(
            self.wire,
            gate=gate,
            openings=self.openings,
            timeouts=config.timeouts,
            keepalive=config.keepalive,
        )
        self.transport = StillTransport()
        self.session = Session(self.engine, loop=asyncio.get_running_loop())
        self.session.connection_made(self.transport)
        self._parser = RpcxParser(None if profile.is_loose else profile.magic)
        self._read = 0

    async def send(self, *frames: Frame | bytes, size: int = READ_BYTES) -> None:
        """Receive frames, or any bytes, in reads of this size; bytes after the end are ignored."""
        magic = self.wire.profile.magic
        data = b"".join(one if isinstance(one, bytes) else one.encode(magic) for one in frames)
        loop = asyncio.get_running_loop()
        while data and not self.is_over:
            # In a callback of the loop, as transports do it: handlers begin in a task of their own.
            done = loop.create_future()
            loop.call_soon(lambda part, done: done.set_result(self._receive(part)), data[:size], done)
            data = data[await done :]
        # A stall defers the remainder of a read.
        await eventually(lambda: self.is_over or not self.session.is_put_off)

    def _receive(self, data: bytes) -> int:
        if self.transport.is_paused:
            return 0
        with memoryview(self.session.get_buffer(len(data))) as place:
            size = min(len(place), len(data))
            place[:size] = data[:size]
        self.session.buffer_updated(size)
        return size

    def answers(self) -> list[Frame]:
        """Return the frames that were sent since the last look."""
        sent, self._read = self.transport.written[self._read :], len(self.transport.written)
        return self._parser.feed(sent)

    async def hear(self, count: int = 1) -> list[Frame]:
        """Wait for the given number of frames."""
        frames: list[Frame] = []
        while len(frames) < count:
            await eventually(lambda: len(self.transport.written) > self._read)
            frames += self.answers()
        return frames

    async def ask(self, frame: Frame | bytes) -> Frame:
        """Send a frame, and wait for the only one that comes."""
        await self.send(frame)
        [answer] = await self.hear()
        return answer

    def lose(self) -> None:
        """End the stream below."""
        if self.session.transport is not None:
            self.session.connection_lost(None)

    @property
    def is_over(self) -> bool:
        return self.transport.is_closing()


@asynccontextmanager
async def served_rpcx(
    *sources: Any, profile: Profile = RPCX, config: ServerConfig | None = None, **options: Any
) -> AsyncIterator[ServedRpcx]:
    """Serve one connection; it is gone before the server closes."""
    async with gate_for(*sources, config=config or ServerConfig(), **options) as gate:
        connection = ServedRpcx(gate, profile, config=config)
        try:
            yield connection
        finally:
            connection.lose()


class TranslatedRpcx:
    """A translation, with the frames of a native connection above it and of a server below it."""

    def __init__(
        self,
        *,
        message_bytes: int = 1_000_000,
        frame_bytes: int = 262_144,
        takes_pushes: bool = False,
        wire: str = "rpcx",
        **options: Any,
    ) -> None:
        limits = Limits(message_bytes=message_bytes, frame_bytes=frame_bytes)
        config = ClientConfig(wire_protocol=wire, limits=limits, **options)
        self.translation: RpcxTranslation = rpcx_translation(
            config, config.wire_protocol or "rpcx", takes_pushes=takes_pushes
        )
        self._parser = Parser(False, max_frame=1 << 20)

    def open(self) -> list[Any]:
        """Begin as a native client does; return the frames that it gets at once."""
        return self.say(Preface(), SettingsFrame(), Credit(0, 16_711_680))

    def say(self, *frames: Any) -> list[Any]:
        """Send native frames; return those that come back."""
        for frame in frames:
            if isinstance(frame, Credit) and frame.id == 0:
                self._parser.window_left += frame.size
        self.translation.send(b"".join(frame.encode() for frame in frames))
        return list(self.heard())

    def sent(self) -> list[Frame]:
        """Return the frames sent to the server."""
        return frames_in(self.translation.take_down(), self.translation.profile.magic)

    def hear(self, *frames: Frame | bytes) -> list[Any]:
        """Receive frames of a server; return their native form."""
        self.translation.receive(b"".join(one if isinstance(one, bytes) else one.encode() for one in frames))
        return list(self.heard())

    def heard(self) -> Iterator[Any]:
        self._parser.feed(self.translation.take_up())
        while (frame := self._parser.next_frame()) is not None:
            yield frame
