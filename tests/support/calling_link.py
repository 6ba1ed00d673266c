"""Calls on an engine in Python over a stream that leads nowhere: a test gives its answers, its input and the time."""

import asyncio
import time
from typing import Any

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.base.histogram import CallTotals
from fastrpc._core.client.caller import Caller
from fastrpc._core.client.caller_state import CallerState
from fastrpc._core.client.calling_engine import CallingEngine
from fastrpc._core.client.client_call import ClientCall
from fastrpc._core.wire.settings import usual_settings
from fastrpc.config import ClientConfig, ServerConfig, Timeouts
from fastrpc.endpoint import Endpoint
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.protocols.base import ClientParts, Protocol, client_stream
from fastrpc_harness.checking import check
from tests.support.still_transport import StillTransport

__all__ = ["ENDLESS", "Lines", "Link"]

SECOND = 1_000_000_000
#: No rule of its life applies.
ENDLESS = Timeouts(handshake=None, idle=None)


class Lines(CallingEngine):
    """Sends the payload of each call as a line, and ends calls as a test says."""

    fails: Exception | None = None

    def __init__(self, parts: ClientParts) -> None:
        super().__init__(parts)
        self.sent: list[ClientCall] = []
        self.given_up: list[tuple[ClientCall, int]] = []

    def connection_made(self) -> None:
        self.ready()

    def send_call(self, call: ClientCall, payload: bytes) -> None:
        if self.fails is not None:
            raise self.fails
        self.sent.append(call)
        self.send(payload + b"\n")

    def cancel_call(self, call: ClientCall, reason: int) -> None:
        self.given_up.append((call, reason))
        if self.fails is not None:
            raise self.fails

    def receive_data(self, data: bytes) -> int:
        raise ValueError("no line of ours")


class Owner:
    """Hears how the connection fares."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.heard.append(name.removeprefix("connection_"))


class Direct:
    """The runner of calls that are sent on their connection or fail."""

    def first_use(self, loop: asyncio.AbstractEventLoop) -> None:
        """There is nothing to connect."""

    def retry(self, call: object, error: object) -> None:
        """Try nothing again."""


class Link:
    """An engine over a stream that leads nowhere, and a client that calls on it."""

    def __init__(
        self,
        timeouts: Timeouts = ENDLESS,
        config: ClientConfig | None = None,
        *,
        is_connected: bool = True,
        engine_type: type[Lines] = Lines,
    ) -> None:
        config = config or ClientConfig(codec="json")
        self.owner = Owner()
        parts = ClientParts(
            protocol=Protocol("lines", client_engine=engine_type),
            endpoint=Endpoint("tcp://here:1"),
            config=config,
            timeouts=timeouts,
            settings=usual_settings(False),
            owner=self.owner,
            loop=asyncio.get_running_loop(),
        )
        self.engine = engine_type(parts)
        self.stream = client_stream(parts, self.engine, 0)
        self.transport = StillTransport()
        self.made_ns = time.monotonic_ns()
        if is_connected:
            self.stream.connection_made(self.transport)
        self.caller = Caller()
        # With these settings all connections count as of one protocol: this one is not registered.
        state = CallerState(Direct(), RouteMaker(ServerConfig(), CallTotals()), RetryBudget())
        state.set_connections([self.engine])
        self.caller._share(state, "json")

    async def call(self, *args: Any) -> "asyncio.Task[Any]":
        """Return a call that is sent."""
        call = asyncio.ensure_future(self.caller.call("desk.mul", *args))
        await asyncio.sleep(0)
        return call

    def receive(self, data: bytes) -> None:
        place = self.stream.get_buffer(65_536)
        place[: len(data)] = data
        self.stream.buffer_updated(len(data))

    def look(self, seconds: float) -> int:
        """Return when it looks again, once so much time has passed since it was made."""
        return check(self.engine, self.made_ns + int(seconds * SECOND))
