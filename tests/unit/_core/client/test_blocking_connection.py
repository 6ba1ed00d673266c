"""The native engine of a blocking client, over a socket pair."""

import socket

from fastrpc._core.client.blocking_connection import BlockingConnection
from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.io.blocking_io import SocketIO
from fastrpc._core.wire.native import PREFACE
from fastrpc._core.wire.settings import usual_settings
from fastrpc.config import Keepalive, Timeouts
from fastrpc.protocols.base import ClientTraits, Protocol
from tests.support.frame_factory import opening


def opened(**options: object) -> tuple[BlockingSession, socket.socket]:
    near, far = socket.socketpair()
    far.settimeout(20)
    engine = BlockingConnection(
        endpoint="nowhere",
        timeouts=Timeouts(),
        keepalive=Keepalive(),
        settings=usual_settings(False),
        **options,
    )
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
