"""A read that comes when the turn of the loop is used up waits, and its connection survives or ends with it."""

import asyncio
import logging
import time
from contextlib import nullcontext
from typing import Any, cast

import pytest

from fastrpc import Keepalive, Timeouts
from fastrpc._core.client.client_connection import ClientConnection
from fastrpc._core.io.session import Session
from fastrpc._core.loop.loop_state import loop_state
from fastrpc._core.wire.settings import usual_settings
from tests.support.blocking import keep_the_loop
from tests.support.frame_factory import opening
from tests.support.still_transport import StillTransport
from tests.support.used_turn import use_up_the_slices, use_up_the_turn
from tests.support.waiting import eventually
from tests.support.wire_frames import Data, Goaway, Ping

DRAINS = Goaway(2**63 - 1, 0).encode()

#: The bytes that a loop receives at once, alone and where so many wait for their turn already.
READ_BLOCK, SHORT_READ, MANY_DEFERRED = 393_216, 32_768, 16 * 1024 * 1024


class Owner:
    """Hears how the session fares."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.fails = False

    def connection_ready(self, session: ClientConnection) -> None:
        self.heard.append("ready")

    def connection_draining(self, session: ClientConnection) -> None:
        self.heard.append("draining")
        if self.fails:
            raise ValueError("the owner fails")

    def connection_lost(self, session: ClientConnection, error: Exception | None) -> None:
        self.heard.append("lost")


def receive(session: Session, data: bytes) -> None:
    place = session.get_buffer(65_536)
    place[: len(data)] = data
    session.buffer_updated(len(data))


def open_session() -> tuple[Session, StillTransport, Owner]:
    owner, stream = Owner(), StillTransport()
    loop = asyncio.get_running_loop()
    engine = ClientConnection(
        endpoint="nowhere",
        owner=owner,
        loop=loop,
        timeouts=Timeouts(),
        keepalive=Keepalive(),
        settings=usual_settings(False),
    )
    session = Session(engine, loop=loop)
    session.connection_made(stream)
    receive(session, opening(True))
    assert owner.heard == ["ready"]
    return session, stream, owner


async def test_a_read_in_a_used_up_turn_is_handled_in_the_next_one() -> None:
    session, stream, owner = open_session()
    use_up_the_turn()
    receive(session, DRAINS)
    assert (session.is_put_off, stream.is_paused, owner.heard) == (True, True, ["ready"])
    await eventually(lambda: not session.is_put_off)
    assert (stream.is_paused, owner.heard) == (False, ["ready", "draining"])
    session.connection_lost(None)


async def test_frames_cut_anywhere_are_joined_after_their_turn() -> None:
    for cut in range(1, len(DRAINS)):
        session, _, owner = open_session()
        receive(session, DRAINS[:cut])
        use_up_the_turn()
        receive(session, DRAINS[cut:])
        assert owner.heard == ["ready"]
        await eventually(lambda session=session: not session.is_put_off)  # type: ignore[misc]
        assert owner.heard == ["ready", "draining"]
        session.connection_lost(None)


async def test_bytes_before_the_end_of_the_stream_are_handled() -> None:
    session, _, owner = open_session()
    use_up_the_turn()
    receive(session, DRAINS)
    session.connection_lost(None)
    assert owner.heard == ["ready", "draining", "lost"]


async def test_the_end_of_writing_comes_after_waiting_bytes() -> None:
    session, stream, owner = open_session()
    use_up_the_turn()
    receive(session, DRAINS)
    assert session.eof_received() is True
    assert not stream.is_aborted
    await eventually(lambda: stream.is_aborted)
    assert owner.heard == ["ready", "draining"]
    session.connection_lost(None)


async def test_the_end_of_the_stream_is_delivered_after_any_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    session, _, owner = open_session()
    use_up_the_turn()
    receive(session, DRAINS)
    owner.fails = True
    with caplog.at_level(logging.ERROR, "fastrpc"):
        session.connection_lost(None)
    assert owner.heard == ["ready", "draining", "lost"]
    assert [record.message for record in caplog.records] == [
        "fastrpc: internal error on a connection of nobody"
    ]


async def test_a_session_with_a_failing_turn_ends_and_the_loop_continues() -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    session, stream, _ = open_session()
    turns = use_up_the_turn()
    receive(session, Ping(b"12345678").encode())
    stream.is_broken = True
    await eventually(lambda: len(turns) == 0)
    assert not session.is_put_off
    assert stream.is_aborted
    assert reports == []
    session.connection_lost(None)


async def test_a_session_that_closes_while_it_waits_reads_on() -> None:
    session, _, owner = open_session()
    use_up_the_turn()
    receive(session, DRAINS)
    cast(ClientConnection, session.engine).close()
    assert not session.is_put_off
    await asyncio.sleep(0)
    assert owner.heard == ["ready", "draining"]
    session.connection_lost(None)


async def test_a_short_read_goes_before_long_ones() -> None:
    order: list[str] = []
    opened = [open_session() for _ in range(2)]
    use_up_the_turn()
    long = DRAINS + Data(1, bytes(100_000)).encode()[:20_000]
    for (session, _, owner), name, data in zip(opened, ("long", "short"), (long, DRAINS), strict=True):
        owner.connection_draining = lambda _, name=name: order.append(name)  # type: ignore[method-assign, misc]
        receive(session, data)
    await eventually(lambda: len(order) == 2)
    assert order == ["short", "long"]
    for session, _, _ in opened:
        session.connection_lost(None)


async def test_bytes_of_a_light_caller_that_arrived_during_a_stall_are_handled_before_long_reads() -> None:
    """Behind a round of busy connections it would have sent more, each time."""
    order: list[str] = []
    opened = [open_session() for _ in range(2)]
    # From here on bytes are dated by the polls of the loop.
    loop_state(asyncio.get_running_loop()).turns.polls.mark()
    keep_the_loop(0.6)
    use_up_the_turn()
    for (session, _, owner), name, size in zip(opened, ("busy", "light"), (70_000, 30_000), strict=True):
        owner.connection_draining = lambda _, name=name: order.append(name)  # type: ignore[method-assign, misc]
        receive(session, DRAINS + Data(1, bytes(100_000)).encode()[:size])
    await eventually(lambda: len(order) == 2)
    assert order == ["light", "busy"]
    for session, _, _ in opened:
        session.connection_lost(None)


@pytest.mark.parametrize(("size", "is_handled"), [(16_000, True), (17_000, False)])
async def test_short_reads_have_time_in_a_turn_that_has_handled_enough(size: int, is_handled: bool) -> None:
    session, _, owner = open_session()
    use_up_the_slices()
    receive(session, DRAINS + Data(1, bytes(100_000)).encode()[: size - len(DRAINS)])
    assert (owner.heard == ["ready", "draining"], session.is_put_off) == (is_handled, not is_handled)
    await eventually(lambda: not session.is_put_off)
    session.connection_lost(None)


@pytest.mark.parametrize(
    ("waited", "lies_there", "expected"), [(1, True, "light"), (1, False, "other"), (2, True, "other")]
)
async def test_calls_that_arrived_during_the_wait_for_a_turn_get_the_remaining_slice_once(
    waited: int, lies_there: bool, expected: str
) -> None:
    for _ in range(100):
        order: list[str] = []
        (light, stream, light_owner), (other, _, other_owner) = open_session(), open_session()
        light_owner.connection_draining = lambda _, to=order: to.append("light")  # type: ignore[method-assign, misc]
        other_owner.connection_draining = lambda _, to=order: to.append("other")  # type: ignore[method-assign, misc]
        for _ in range(waited):
            use_up_the_turn()
            receive(light, Ping(b"12345678").encode())
            with stream.something_unread() if lies_there else nullcontext():
                began = time.perf_counter()
                await eventually(lambda session=light: not session.is_put_off)  # type: ignore[misc]
        is_calm = time.perf_counter() < began + 0.000_5
        use_up_the_turn()
        receive(other, DRAINS)
        receive(light, DRAINS)
        await eventually(lambda to=order: len(to) == 2)  # type: ignore[misc]
        light.connection_lost(None)
        other.connection_lost(None)
        # A machine that took away the processor in between has left nothing of the slice: once more then.
        if order[0] == expected or is_calm:
            break
    assert order[0] == expected


async def test_reads_are_short_once_many_bytes_wait_for_their_turn() -> None:
    """Each of many connections defers its read bytes: their total is at most sixteen MiB."""
    sessions = []
    for _ in range(60):
        sessions.append(open_session()[0])
        await asyncio.sleep(0)
    use_up_the_turn()
    deferred = 0
    for session in sessions:
        place = session.get_buffer(-1)
        assert len(place) == (READ_BLOCK if deferred < MANY_DEFERRED else SHORT_READ)
        session.buffer_updated(len(place))
        deferred += len(place)
    assert deferred < MANY_DEFERRED + READ_BLOCK + len(sessions) * SHORT_READ
    *others, last = sessions
    for session in others:
        session.connection_lost(None)
    assert len(last.get_buffer(-1)) == READ_BLOCK - SHORT_READ
    last.connection_lost(None)
