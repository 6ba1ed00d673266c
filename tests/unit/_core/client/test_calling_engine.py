"""The base of client engines in Python: the opening, the end, and the table of calls."""

import socket
from collections.abc import Iterator

import pytest

from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.client.calling_engine import CallingEngine
from fastrpc._core.io.blocking_io import SocketIO
from fastrpc._core.wire.settings import usual_settings
from fastrpc.config import ClientConfig, Timeouts
from fastrpc.endpoint import Endpoint
from fastrpc.protocols.base import ClientParts, ClientTraits, Protocol

HERE = Endpoint("tcp://here:1")


class Greeted(CallingEngine):
    """Is ready once the server said anything."""

    def connection_made(self) -> None:
        self.send(b"hello\n")

    def receive_data(self, data: bytes) -> int:
        if data == b"bye\n":
            self.leave()
        else:
            self.ready()
        return len(data)


def parts_with(timeouts: Timeouts, *, takes_values: bool = True) -> ClientParts:
    return ClientParts(
        protocol=Protocol("greeted", client_engine=Greeted, traits=ClientTraits(takes_values=takes_values)),
        endpoint=HERE,
        config=ClientConfig(),
        timeouts=timeouts,
        settings=usual_settings(False),
    )


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    far.settimeout(20)
    yield near, far
    far.close()


def session_over(near: socket.socket, timeouts: Timeouts | None = None) -> BlockingSession:
    engine = Greeted(parts_with(timeouts or Timeouts()))
    return BlockingSession(engine, io=SocketIO(near), endpoint=HERE)


def test_the_opening_leaves_with_the_first_step(pair: tuple[socket.socket, socket.socket]) -> None:
    session = session_over(pair[0])
    assert session.is_usable
    assert not session.is_ready
    session.catch_up()
    assert pair[1].recv(100) == b"hello\n"
    pair[1].sendall(b"hello\n")
    assert session.wait_ready(None)
    session.close()
    assert pair[1].recv(100) == b""


def test_a_server_that_says_nothing_is_left(pair: tuple[socket.socket, socket.socket]) -> None:
    session = session_over(pair[0], Timeouts(handshake=0.05))
    assert not session.wait_ready(None)
    assert session.lost_because == "the opening took more than 0.05 s"
    assert session.is_closed


def test_a_server_that_leaves_gets_no_new_calls(pair: tuple[socket.socket, socket.socket]) -> None:
    session = session_over(pair[0])
    pair[1].sendall(b"bye\n")
    assert not session.wait_ready(None)
    assert not session.is_usable
    assert session.engine.peer_replaces
    assert session.is_closed


def test_the_end_of_the_stream_is_the_end_of_the_connection(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    session = session_over(pair[0])
    pair[1].shutdown(socket.SHUT_WR)
    assert not session.wait_ready(None)
    assert session.lost_because == "the server closed it"


def test_an_engine_tells_what_its_parts_say() -> None:
    engine = Greeted(parts_with(Timeouts()))
    assert engine.endpoint is HERE
    assert engine.protocol == "greeted"
    assert engine.owner is None
    assert engine.calling.takes_values
    assert not Greeted(parts_with(Timeouts(), takes_values=False)).calling.takes_values
    assert (engine.auth_status, engine.calls, engine.calls_in_flight) == (-1, [], 0)
    assert engine.stats() == {"calls": 0, "waiting": 0, "buffered": 0, "credit": 0}


def test_an_engine_implements_how_a_call_is_sent() -> None:
    engine = CallingEngine(parts_with(Timeouts()))
    with pytest.raises(NotImplementedError, match=r"does not implement send_call\(\)"):
        engine.send_call(None, b"")  # type: ignore[arg-type]
