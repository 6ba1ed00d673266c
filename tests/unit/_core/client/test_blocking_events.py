"""What the threads of a blocking session wait for besides answers, and the end of their connection."""

import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.client.client_connection import ClientConnection
from fastrpc._core.io.blocking_io import SocketIO
from fastrpc._core.wire.settings import usual_settings
from fastrpc.config import Keepalive, Timeouts
from tests.support.frame_factory import opening


def new_engine() -> ClientConnection:
    return ClientConnection(
        endpoint="nowhere", timeouts=Timeouts(), keepalive=Keepalive(), settings=usual_settings(False)
    )


@pytest.fixture
def peer_and_session() -> Iterator[tuple[socket.socket, BlockingSession]]:
    near, far = socket.socketpair()
    far.settimeout(20)
    with far:
        yield far, BlockingSession(new_engine(), io=SocketIO(near), endpoint="nowhere")


Pair = tuple[socket.socket, BlockingSession]


def test_the_settings_end_the_waits_of_all_threads(peer_and_session: Pair) -> None:
    peer, session = peer_and_session
    outcomes: list[bool] = []
    threads = [threading.Thread(target=lambda: outcomes.append(session.wait_ready(None))) for _ in range(3)]
    for thread in threads:
        thread.start()
    # The opening leaves when a thread waits.
    assert peer.recv(65_536)
    peer.sendall(opening(True))
    for thread in threads:
        thread.join(20)
    assert outcomes == [True] * 3
    session.close()


def test_the_end_of_the_connection_ends_the_waits_of_all_threads(peer_and_session: Pair) -> None:
    peer, session = peer_and_session
    outcomes: list[bool] = []
    threads = [threading.Thread(target=lambda: outcomes.append(session.wait_ready(None))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert peer.recv(65_536)
    peer.shutdown(socket.SHUT_WR)
    for thread in threads:
        thread.join(20)
    assert outcomes == [False] * 3
    assert session.lost_because == "the server closed it"
    assert session.lost_hint is None


def test_the_lifetime_ends_with_the_connection(peer_and_session: Pair) -> None:
    _, session = peer_and_session
    session.close(0, "enough")
    assert session.lost_because == "enough"
    lifetime = session.lifetime
    assert session.lifetime == lifetime


def test_a_dropped_session_frees_its_stream_and_leaves_its_engine() -> None:
    near, far = socket.socketpair()
    engine, io = new_engine(), SocketIO(near)
    held = sys.getrefcount(io)
    session = BlockingSession(engine, io=io, endpoint="nowhere")
    assert session.engine is engine
    assert sys.getrefcount(io) > held
    del session
    assert sys.getrefcount(io) == held
    # The engine has no stream any more.
    engine.close(0, "enough")
    assert engine.is_closed
    io.close()
    far.close()


def test_a_session_without_a_connection_is_closed_to_calls() -> None:
    session = BlockingSession.__new__(BlockingSession)
    assert not session.is_usable
    assert session.lost_because is None
    assert not session.is_left_behind
