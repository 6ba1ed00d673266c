"""The supervisor where it cannot accept connections."""

import errno
import logging
import os
import resource
import selectors
import socket

import pytest

from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address
from fastrpc.workers.acceptor import Acceptor
from fastrpc.workers.spread import PAUSE_SECONDS, Spread
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
