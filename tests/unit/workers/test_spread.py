"""The supervisor where it cannot accept connections, and where it refuses some."""

import contextlib
import errno
import logging
import os
import resource
import selectors
import socket
from typing import Any

import pytest

from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address
from fastrpc.workers.acceptor import Acceptor
from fastrpc.workers.spread import PAUSE_SECONDS, REST_SECONDS, Spread
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
    acceptor = Acceptor([Address.parse("tcp://127.0.0.1:0")], ServerConfig())
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


class Worker:
    """A worker that keeps the ports of the connections it is handed."""

    connections = 0

    def __init__(self, ends: contextlib.ExitStack) -> None:
        self.ports: list[int] = []
        self._ends = ends

    def takes(self, index: int, connection: socket.socket) -> bool:
        self.ports.append(connection.getpeername()[1])
        self._ends.enter_context(connection.dup())
        return True


def test_refused_connections_reach_no_worker_and_hold_up_no_other() -> None:
    acceptor = Acceptor([Address.parse("tcp://127.0.0.1:0")], ServerConfig())
    acceptor.listen()
    (listening,) = acceptor.listening_sockets
    with contextlib.ExitStack() as ends, selectors.DefaultSelector() as selector:
        worker: Any = Worker(ends)
        ends.callback(acceptor.close)
        dialled = [
            ends.enter_context(socket.create_connection(listening.socket.getsockname())) for _ in range(100)
        ]
        ports = [one.getsockname()[1] for one in dialled]
        refused = {port for number, port in enumerate(ports) if number % 10}
        spread = Spread(acceptor, selector, lambda: [worker], float, lambda peer: peer[1] not in refused)
        spread.accept()
        rounds = 0
        while ready := selector.select(0):
            rounds += 1
            for key, _ in ready:
                key.data()
        # Several in one round, and others of the supervisor's events between two rounds.
        assert 1 < rounds < 10
        assert worker.ports == ports[::10]
        for number, one in enumerate(dialled):
            one.setblocking(False)
            with pytest.raises(ConnectionResetError if number % 10 else BlockingIOError):
                one.recv(1)


def test_a_rest_follows_the_last_of_refused_connections_alone() -> None:
    now = 0.0
    acceptor = Acceptor([Address.parse("tcp://127.0.0.1:0")], ServerConfig())
    acceptor.listen()
    (listening,) = acceptor.listening_sockets
    place = listening.socket.getsockname()
    with contextlib.ExitStack() as ends, selectors.DefaultSelector() as selector:
        worker: Any = Worker(ends)
        ends.callback(acceptor.close)
        sources = ["127.0.0.2", "127.0.0.1", "127.0.0.1"]
        spread = Spread(
            acceptor, selector, lambda: [worker], lambda: now, lambda peer: peer[0] == "127.0.0.1"
        )
        spread.accept()
        rests = []
        for source in sources:
            ends.enter_context(socket.create_connection(place, source_address=(source, 0)))
            for key, _ in selector.select(0):
                key.data()
            rests.append(spread.resume_at)
            now += REST_SECONDS
            spread.resume()
            assert len(selector.get_map()) == 1
        assert rests == [REST_SECONDS, None, None]
        assert len(worker.ports) == 2


class LosingSocket(socket.socket):
    """A listening socket each of whose connections follows one that the network has lost."""

    _loses = False

    def _accept(self) -> tuple[int, Any]:
        self._loses = not self._loses
        if self._loses:
            raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
        return super()._accept()


def test_connections_that_the_network_loses_hold_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    acceptor = Acceptor([Address.parse("tcp://127.0.0.1:0")], ServerConfig())
    acceptor.listen()
    (listening,) = acceptor.listening_sockets
    listening.socket = LosingSocket(fileno=listening.socket.detach())
    with contextlib.ExitStack() as ends, selectors.DefaultSelector() as selector:
        worker: Any = Worker(ends)
        ends.callback(acceptor.close)
        place = listening.socket.getsockname()
        ports = [ends.enter_context(socket.create_connection(place)).getsockname()[1] for _ in range(3)]
        spread = Spread(acceptor, selector, lambda: [worker], float)
        spread.accept()
        ((key, _),) = selector.select(0)
        key.data()
        assert spread.resume_at in {None, REST_SECONDS}
    assert worker.ports == ports
    assert caplog.records == []


def test_the_last_connections_are_taken_behind_refused_ones() -> None:
    acceptor = Acceptor([Address.parse("tcp://127.0.0.1:0")], ServerConfig())
    acceptor.listen()
    (listening,) = acceptor.listening_sockets
    with contextlib.ExitStack() as ends, selectors.DefaultSelector() as selector:
        worker: Any = Worker(ends)
        ends.callback(acceptor.close)
        place = listening.socket.getsockname()
        ports = [ends.enter_context(socket.create_connection(place)).getsockname()[1] for _ in range(3)]
        spread = Spread(acceptor, selector, lambda: [worker], float, lambda peer: peer[1] == ports[-1])
        spread.take_last()
    assert worker.ports == ports[-1:]
