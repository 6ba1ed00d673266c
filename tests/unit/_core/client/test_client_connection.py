"""The client's side of a native connection: its opening, age and rest on a loop, and its life for threads."""

import asyncio
import socket
import time
from typing import Any

import pytest

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.base.histogram import CallTotals
from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.client.caller import Caller
from fastrpc._core.client.caller_state import CallerState
from fastrpc._core.client.client_connection import ClientConnection
from fastrpc._core.io.blocking_io import SocketIO
from fastrpc._core.io.session import Session
from fastrpc._core.wire.native import PREFACE
from fastrpc._core.wire.settings import usual_settings
from fastrpc.config import Keepalive, ServerConfig, Timeouts
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.protocols.base import ClientTraits, Protocol
from fastrpc_harness.checking import check
from tests.support.calling_link import Direct, Owner
from tests.support.engine import frames
from tests.support.frame_factory import answer, early_opening, opening
from tests.support.still_transport import StillTransport
from tests.support.wire_frames import Goaway
from tests.support.wire_layout import Reason

SECOND = 1_000_000_000
#: No rule applies unless a test gives one.
ENDLESS = Timeouts(handshake=None, idle=None)
UNPINGED = Keepalive(interval=None)


class EndedTransport(StillTransport):
    """Tells the end of a connection apart from an abort."""

    is_ended = False

    def close(self) -> None:
        self.is_ended = True


class Watched:
    """A connection of a loop over a transport that leads nowhere; the test gives its input and the time."""

    def __init__(
        self, timeouts: Timeouts = ENDLESS, keepalive: Keepalive = UNPINGED, received: bytes | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        self.owner, self.transport = Owner(), EndedTransport()
        self.engine = ClientConnection(
            endpoint="nowhere",
            owner=self.owner,
            loop=loop,
            timeouts=timeouts,
            keepalive=keepalive,
            settings=usual_settings(False),
        )
        self.session = Session(self.engine, loop=loop)
        self.session.connection_made(self.transport)
        self.made_ns = time.monotonic_ns()
        self.receive(opening(True) if received is None else received)

    def receive(self, data: bytes) -> None:
        place = self.session.get_buffer(65_536)
        place[: len(data)] = data
        self.session.buffer_updated(len(data))

    def look(self, seconds: float) -> float:
        """Check the connection; return the seconds from its start to the next check, 0: never."""
        due = check(self.engine, self.made_ns + int(seconds * SECOND))
        return due and (due - self.made_ns) / SECOND

    async def call(self) -> "asyncio.Task[Any]":
        """Return a call that is sent."""
        caller = Caller()
        state = CallerState(Direct(), RouteMaker(ServerConfig(), CallTotals()), RetryBudget())
        state.set_connections([self.engine])
        caller._share(state, "json")
        call = asyncio.ensure_future(caller.call("desk.mul", 1))
        await asyncio.sleep(0)
        return call


async def test_an_opening_that_takes_too_long_ends_the_connection() -> None:
    link = Watched(Timeouts(handshake=5, idle=None), received=early_opening(True))
    assert link.look(4) == pytest.approx(5, abs=0.5)
    assert not link.engine.is_closed
    await asyncio.sleep(0)
    link.transport.written = b""
    link.look(6)
    assert (link.engine.closed_reason, link.engine.closed_text) == (
        Reason.HANDSHAKE_TIMEOUT,
        "the opening took more than 5 s",
    )
    [goodbye] = [frame for frame in frames(link.transport.written) if isinstance(frame, Goaway)]
    assert goodbye.reason == Reason.HANDSHAKE_TIMEOUT
    assert (link.transport.is_ended, link.transport.is_aborted) == (True, False)


async def test_a_server_that_answers_no_opening_is_cut_off() -> None:
    link = Watched(Timeouts(handshake=5, idle=None), received=b"")
    link.look(6)
    assert link.engine.closed_reason == Reason.HANDSHAKE_TIMEOUT
    assert link.transport.is_aborted


async def test_an_opening_in_time_is_not_checked_again() -> None:
    assert Watched(Timeouts(handshake=5, idle=None)).look(1) == 0


async def test_an_old_connection_is_reported_once_and_ends_at_twice_its_age() -> None:
    link = Watched(keepalive=Keepalive(interval=None, max_age=10))
    link.look(8)
    assert not link.engine.life.is_aged
    link.look(11.5)
    link.look(12)
    assert (link.engine.life.is_aged, link.engine.is_usable) == (True, True)
    assert link.owner.heard == ["ready", "aged"]
    link.look(24)
    assert link.owner.heard[2:] == ["draining", "draining"]
    assert link.engine.is_closed


async def test_an_old_connection_whose_server_took_no_calls_ends() -> None:
    link = Watched(keepalive=Keepalive(interval=None, max_age=10), received=b"")
    link.look(11.5)
    assert "aged" not in link.owner.heard
    assert link.engine.is_closed


async def test_a_connection_without_calls_rests_and_is_dispensable() -> None:
    link = Watched(Timeouts(handshake=None, idle=8))
    assert link.look(1) == pytest.approx(3, abs=0.5)
    link.look(7)
    assert link.engine.is_usable
    link.look(9)
    assert link.engine.is_closed
    assert link.engine.life.is_dispensable


async def test_a_call_in_between_starts_the_rest_again() -> None:
    link = Watched(Timeouts(handshake=None, idle=8))
    link.look(1)
    call = await link.call()
    link.look(9.5)
    assert not link.engine.is_closed
    link.receive(answer(1, b"1", codec=2))
    assert await call == 1
    link.look(10)
    link.look(17)
    assert not link.engine.is_closed
    link.look(18.5)
    assert link.engine.is_closed


async def test_an_unused_connection_of_a_server_that_drains_is_dispensable() -> None:
    unused, used = Watched(), Watched()
    call = await used.call()
    for link in (unused, used):
        link.receive(Goaway(2**63 - 1, 0).encode())
        assert link.owner.heard == ["ready", "draining"]
    assert unused.engine.life.is_dispensable
    assert not used.engine.life.is_dispensable
    call.cancel()


# For threads


def test_age_and_rest_of_a_connection_of_threads_are_left_to_their_next_call() -> None:
    session, peer = opened(timeouts=Timeouts(idle=8), keepalive=Keepalive(interval=None, max_age=10))
    peer.sendall(opening(True))
    assert session.wait_ready(None)
    check(session.engine, time.monotonic_ns() + 100 * SECOND)
    assert (session.is_usable, session.life.is_aged, session.life.is_spent) == (True, False, False)
    session.close()
    peer.close()


def opened(**options: object) -> tuple[BlockingSession, socket.socket]:
    near, far = socket.socketpair()
    far.settimeout(20)
    rules: Any = {"timeouts": Timeouts(), "keepalive": Keepalive(), **options}
    engine = ClientConnection(endpoint="nowhere", settings=usual_settings(False), **rules)
    return BlockingSession(engine, io=SocketIO(near), endpoint="nowhere"), far


def test_the_opening_and_the_credential_are_sent_together() -> None:
    session, peer = opened(credential=b"a token")
    session.catch_up()
    said = peer.recv(65_536)
    assert said.startswith(PREFACE)
    assert b"a token" in said
    session.close()
    peer.close()


def test_connection_is_ready_once_the_settings_arrived() -> None:
    session, peer = opened(protocol=Protocol("told", traits=ClientTraits(takes_values=True)))
    assert (session.engine.calling.protocol, session.engine.calling.takes_values) == ("told", True)
    assert session.is_usable
    assert not session.is_ready
    peer.sendall(opening(True))
    assert session.wait_ready(None)
    assert session.engine.stats()["calls"] == 0
    session.close()
    peer.close()


def test_the_end_of_a_connection_has_a_reason() -> None:
    session, peer = opened()
    peer.sendall(opening(True))
    assert session.wait_ready(None)
    assert peer.recv(65_536).startswith(PREFACE)
    session.close(0, "enough")
    assert session.lost_because == "enough"
    assert b"enough" in peer.recv(65_536)
    assert not session.is_usable
    peer.close()


def test_a_lost_stream_says_why() -> None:
    session, peer = opened()
    peer.close()
    assert not session.wait_ready(None)
    assert session.lost_because
    assert not session.is_usable


def test_connections_of_a_parent_process_are_not_used() -> None:
    session, peer = opened()
    session.detach()
    assert session.is_left_behind
    assert not session.is_usable
    assert session.lost_because == "this process was forked, and the connection is the parent's"
    peer.close()
