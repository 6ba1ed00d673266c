"""The engine of a gRPC client over a stream that leads nowhere; python `h2` is the server, as a test says."""

from __future__ import annotations

import asyncio
import struct
import time
from typing import Any

import h2.events
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.base.histogram import CallTotals
from fastrpc._core.client.caller import Caller
from fastrpc._core.client.caller_state import CallerState
from fastrpc.codecs.base import codec_named
from fastrpc.config import ClientConfig, Timeouts
from fastrpc.endpoint import Endpoint
from fastrpc.peers.answers import Answers
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.protocols.base import ClientParts, client_protocol, client_stream
from fastrpc.protocols.grpc_client import grpc_client_engine
from fastrpc.rpc.wire_numbers import numbers_of_all
from fastrpc_harness.checking import check
from tests.support.calling_link import ENDLESS, Direct, Owner
from tests.support.still_transport import StillTransport

__all__ = ["HEAD", "OK", "GrpcLink", "Head", "Reset", "error_of", "message"]

SECOND = 1_000_000_000

Pair = tuple[str, str]

Head = h2.events.RequestReceived
Reset = h2.events.StreamReset

HEAD: list[Pair] = [(":status", "200"), ("content-type", "application/grpc")]
OK: list[Pair] = [("grpc-status", "0")]


def message(content: bytes, *, is_compressed: bool = False) -> bytes:
    """Return a message with its prefix."""
    return struct.pack(">BI", is_compressed, len(content)) + content


async def error_of(call: Any) -> Any:
    """Return the error that a call ends with."""
    with pytest.raises(Exception) as caught:
        await call
    return caught.value


class Runner(Answers, Direct):
    """Sends calls on their connection or fails them, and finishes their answers."""

    def __init__(self, config: ClientConfig) -> None:
        self._answer_bytes = config.limits.message_bytes


class GrpcLink:
    """A client and the engine of its one connection; `server` is the other side."""

    def __init__(
        self,
        config: ClientConfig | None = None,
        *,
        timeouts: Timeouts = ENDLESS,
        credential: bytes | None = None,
        settings: dict[SettingCodes, int] | None = None,
        is_settled: bool = True,
    ) -> None:
        config = config or ClientConfig(wire_protocol="grpc", early_calls="all")
        self.owner = Owner()
        parts = ClientParts(
            protocol=client_protocol("grpc"),
            endpoint=Endpoint("tcp://here:1"),
            config=config,
            timeouts=timeouts,
            settings=None,  # type: ignore[arg-type]
            owner=self.owner,
            loop=asyncio.get_running_loop(),
            credential=credential,
        )
        self.engine: Any = grpc_client_engine(parts)
        self.stream = client_stream(parts, self.engine, 0)
        self.transport = StillTransport()
        self.made_ns = time.monotonic_ns()
        self.stream.connection_made(self.transport)
        self.caller = Caller()
        state = CallerState(Runner(config), RouteMaker(config, CallTotals()), RetryBudget())
        state.numbers = numbers_of_all()
        state.compress_above = config.compress_above
        state.message_limit = config.limits.message_bytes
        state.set_connections([self.engine])
        self.caller._share(state, codec_named(config.codec).name)
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.server.initiate_connection()
        if settings:
            self.server.update_settings(settings)
        if is_settled:
            self.exchange()

    def view(self, **options: Any) -> Any:
        """Return the client with options, which are given as they are after their check."""
        view = Caller()
        view._share(self.caller._options.shared, self.caller.codec)
        view._set_options(options)
        return view

    async def call(self, payload: bytes = b"", caller: Any = None, method: str = "shop.Desk.Get") -> Any:
        """Return a call that is sent."""
        made = asyncio.ensure_future((caller or self.caller).call(method, payload))
        await asyncio.sleep(0)
        return made

    def exchange(self) -> list[h2.events.Event]:
        """Carry the bytes of each side to the other, and return the events of the server."""
        self.send_out()
        events = []
        while self.transport.written:
            written, self.transport.written = self.transport.written, b""
            events += self.server.receive_data(written)
            self.send_out()
        return events

    def send_out(self) -> None:
        """Carry the server's bytes to the client."""
        if sent := self.server.data_to_send():
            self.receive(sent)

    def receive(self, data: bytes) -> None:
        """Give the client bytes."""
        while data:
            place = self.stream.get_buffer(65_536)
            size = min(len(data), len(place))
            place[:size] = data[:size]
            self.stream.buffer_updated(size)
            data = data[size:]

    async def heard(self, kind: type[h2.events.Event]) -> list[Any]:
        """Return the events of a kind that the server got."""
        # Output leaves at the end of a turn.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return [event for event in self.exchange() if isinstance(event, kind)]

    def answer(
        self, stream: int, *messages: bytes, head: list[Pair] = HEAD, trailers: list[Pair] | None = OK
    ) -> None:
        """Answer a call; without trailers the stream stays open."""
        self.server.send_headers(stream, head)
        for content in messages:
            self.server.send_data(stream, content)
        if trailers is not None:
            self.server.send_headers(stream, trailers, end_stream=True)
        self.send_out()

    def refuse(self, stream: int, *pairs: Pair, head: list[Pair] = HEAD) -> None:
        """Answer a call by trailers alone."""
        self.server.send_headers(stream, [*head, *pairs], end_stream=True)
        self.send_out()

    def look(self, seconds: float) -> int:
        """Return when the engine looks again, once so much time has passed since it was made."""
        return check(self.engine, self.made_ns + int(seconds * SECOND))
