"""The blocking session where threads and their ends meet."""

import socket
import struct
import threading
import time

from fastrpc import DeadlineExceededError, SyncClient, method, service
from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.client.client_connection import ClientConnection
from fastrpc._core.io.blocking_io import SocketIO
from fastrpc._core.wire.settings import usual_settings
from fastrpc.config import Keepalive, Timeouts
from fastrpc.testing import serving

PREFACE = bytes.fromhex("f546525001010000")


def settings_frame() -> bytes:
    body = usual_settings(True).encode()
    return struct.pack("<IBBBBQ", len(body), 0x81, 0, 0, 0, 0) + body


def new_session(*, linger: float = 1.0) -> tuple[BlockingSession, socket.socket]:
    near, far = socket.socketpair()
    engine = ClientConnection(
        endpoint="test",
        timeouts=Timeouts(linger=linger),
        keepalive=Keepalive(),
        settings=usual_settings(False),
    )
    session = BlockingSession(engine, io=SocketIO(near), endpoint="test", linger=linger)
    return session, far


def test_bytes_read_by_a_closing_session_go_to_no_other_session() -> None:
    closing, peer = new_session()
    closer = threading.Thread(target=closing.close)
    closer.start()
    while peer.recv(65_536):
        pass
    time.sleep(0.02)
    closing.retire()  # another thread leaves the session meanwhile
    other, server = new_session()
    reader = threading.Thread(target=other.wait_ready, args=(time.monotonic() + 5,))
    reader.start()
    server.sendall(PREFACE + settings_frame()[:40])
    time.sleep(0.05)
    peer.sendall(b"\xff" * 200)
    time.sleep(0.05)
    server.sendall(settings_frame()[40:])
    reader.join(20)
    peer.close()
    closer.join(20)

    assert other.is_ready, other.lost_because
    server.close()
    other.close()


@service("ledger")
class Ledger:
    def __init__(self) -> None:
        self.started: set[int] = set()

    @method
    async def note(self, number: int) -> None:
        self.started.add(number)


def test_no_started_call_is_reported_as_unsent_when_its_time_ends_before_the_flush() -> None:
    ledger = Ledger()
    unsent = set()
    with serving(ledger) as address, SyncClient(address) as client:
        client.call(Ledger.note, -1)
        for number in range(400):
            try:
                client.with_options(timeout=(number % 40 + 1) * 1e-6).call(Ledger.note, number)
            except DeadlineExceededError as error:
                if error.processed == "no":
                    unsent.add(number)
        client.call(Ledger.note, -1)

    assert not unsent & ledger.started
