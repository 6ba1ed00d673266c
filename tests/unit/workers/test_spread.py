"""The supervisor where it cannot accept connections, and where it refuses some."""

import contextlib
import errno
import logging
import os
import resource
import selectors
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address
from fastrpc.workers.acceptor import Acceptor
from fastrpc.workers.spread import PAUSE_SECONDS, REST_SECONDS, Spread
from fastrpc.workers.wanted import WantedSocket
from tests.support.forking import in_child

pytestmark = pytest.mark.one_loop


class Records(logging.Handler):
    """Keeps the texts of records."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def take_without_descriptors() -> None:
    """Try to take a connection for 150 seconds, of a clock that jumps, with no descriptor left."""
    now = 0.0
    records = Records()
    logging.getLogger("fastrpc.server").addHandler(records)
    acceptor = Acceptor([WantedSocket.at(Address.parse("tcp://127.0.0.1:0"))], ServerConfig())
    acceptor.listen()
    (listening,) = acceptor.listening_sockets
    selector = selectors.DefaultSelector()
    spread = Spread(acceptor, selector, list, lambda: now)
    spread.accept()
    with socket.create_connection(listening.socket.getsockname()):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0) + 1, most))
        attempts = 0
        while now < 150:
            spread.take(listening)
            attempts += 1
            assert selector.get_map() == {}
            now += PAUSE_SECONDS
            spread.resume()
            assert len(selector.get_map()) == 1
    problem = f"cannot accept connections: [Errno {errno.EMFILE}] {os.strerror(errno.EMFILE)}"
    assert attempts > 2_900
    assert len(records.texts) == 3
    assert records.texts[0] == f"{problem} (attempts that failed: 1)"
    assert all(text.startswith(f"{problem} (attempts that failed: 1,2") for text in records.texts[1:])


def test_attempts_without_a_descriptor_are_logged_once_a_minute_with_their_number() -> None:
    in_child(take_without_descriptors)


class Listener:
    """A listening socket, and a worker that keeps the ports of the connections it is handed."""

    connections = 0

    def __init__(self, ends: contextlib.ExitStack) -> None:
        self.acceptor = Acceptor([WantedSocket.at(Address.parse("tcp://127.0.0.1:0"))], ServerConfig())
        self.acceptor.listen()
        ends.callback(self.acceptor.close)
        (self.listening,) = self.acceptor.listening_sockets
        self.selector = ends.enter_context(selectors.DefaultSelector())
        self.ports: list[int] = []
        self._ends = ends

    def spread(
        self, admits: Callable[[Any], bool] | None = None, clock: Callable[[], float] = float
    ) -> Spread:
        workers: Any = [self]
        return Spread(self.acceptor, self.selector, lambda: workers, clock, admits)

    def dial(self, source: str = "127.0.0.1") -> socket.socket:
        place = self.listening.socket.getsockname()
        return self._ends.enter_context(socket.create_connection(place, source_address=(source, 0)))

    def take_ready(self) -> bool:
        """Take waiting events; return whether something was ready."""
        ready = self.selector.select(0)
        for key, _ in ready:
            key.data()
        return bool(ready)

    def takes(self, index: int, connection: socket.socket) -> bool:
        self.ports.append(connection.getpeername()[1])
        self._ends.enter_context(connection.dup())
        return True


@pytest.fixture
def listener() -> Iterator[Listener]:
    with contextlib.ExitStack() as ends:
        yield Listener(ends)


def port_of(connection: socket.socket) -> int:
    port: int = connection.getsockname()[1]
    return port


def test_refused_connections_reach_no_worker_and_delay_no_other(listener: Listener) -> None:
    dialled = [listener.dial() for _ in range(100)]
    ports = [port_of(one) for one in dialled]
    refused = {port for number, port in enumerate(ports) if number % 10}
    listener.spread(lambda peer: peer[1] not in refused).accept()
    rounds = 0
    while listener.take_ready():
        rounds += 1
    # Several in one round, and other events of the supervisor between two rounds.
    assert 1 < rounds < 10
    assert listener.ports == ports[::10]
    for number, one in enumerate(dialled):
        one.setblocking(False)
        with pytest.raises(ConnectionResetError if number % 10 else BlockingIOError):
            one.recv(1)


def test_a_rest_follows_the_last_of_refused_connections_alone(listener: Listener) -> None:
    now = 0.0
    spread = listener.spread(lambda peer: peer[0] == "127.0.0.1", lambda: now)
    spread.accept()
    rests = []
    for source in ("127.0.0.2", "127.0.0.1", "127.0.0.1"):
        listener.dial(source)
        listener.take_ready()
        rests.append(spread.resume_at)
        now += REST_SECONDS
        spread.resume()
        assert len(listener.selector.get_map()) == 1
    assert rests == [REST_SECONDS, None, None]
    assert len(listener.ports) == 2


class LosingSocket(socket.socket):
    """A listening socket each of whose connections follows one that the network has lost."""

    _loses = False

    def _accept(self) -> tuple[int, Any]:
        self._loses = not self._loses
        if self._loses:
            raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
        return super()._accept()


def test_connections_that_the_network_loses_delay_no_other(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    listener.listening.socket = LosingSocket(fileno=listener.listening.socket.detach())
    ports = [port_of(listener.dial()) for _ in range(3)]
    spread = listener.spread()
    spread.accept()
    assert listener.take_ready()
    assert spread.resume_at in {None, REST_SECONDS}
    assert listener.ports == ports
    assert caplog.records == []


def test_the_last_connections_are_taken_after_refused_ones(listener: Listener) -> None:
    ports = [port_of(listener.dial()) for _ in range(3)]
    listener.spread(lambda peer: peer[1] == ports[-1]).take_last()
    assert listener.ports == ports[-1:]
