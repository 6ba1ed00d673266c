"""A blocking client whose connection ended while nobody used it dials again at once."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from fastrpc import Backoff, ClientConfig, SyncClient
from tests.support.wire_frames import Goaway, Request, Response, SettingsFrame
from tests.support.wire_parser import Parser

PREFACE = b"\xf5FRP\x01\x01\0\0"


class OneAnswer:
    """Answers one call on each connection, then says GOAWAY FINAL and ends the stream."""

    def __init__(self, listener: socket.socket) -> None:
        self.connections = 0
        self._listener = listener

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        parser = Parser(True, max_frame=1 << 24)
        connection.sendall(PREFACE + SettingsFrame().encode() + SettingsFrame(ack=True).encode())
        while chunk := connection.recv(65_536):
            parser.feed(chunk)
            while (frame := parser.next_frame()) is not None:
                if isinstance(frame, Request):
                    answer = Response(frame.id, payload=b"\x03", codec=1, outcome=2)
                    connection.sendall(answer.encode() + Goaway(frame.id, final=True).encode())
                    connection.shutdown(socket.SHUT_WR)


@pytest.fixture
def server() -> Iterator[tuple[OneAnswer, str]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = OneAnswer(listener)
        thread = threading.Thread(target=server.serve)
        thread.start()
        yield server, f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.mark.parametrize("is_batch", [False, True])
def test_the_pause_counts_from_when_the_connection_was_last_used(
    server: tuple[OneAnswer, str], is_batch: bool
) -> None:
    pause = 600.0
    config = ClientConfig(backoff=Backoff(first=pause, longest=pause, jitter=0))
    with SyncClient(server[1], config=config) as client:
        assert client.call("a.b") == 3
        used_at = time.monotonic()
        with pytest.raises(ConnectionError, match="ended the connection after"):
            client.call_many("a.b", [()]) if is_batch else client.call("a.b")
        (subchannel,) = client._pool.subchannels
        assert subchannel.due <= used_at + pause


@pytest.mark.parametrize("early_calls", ["all", "idempotent"])
def test_a_call_after_a_rest_longer_than_the_pause_dials_at_once(
    server: tuple[OneAnswer, str], early_calls: str
) -> None:
    pause = 0.2
    config = ClientConfig(backoff=Backoff(first=pause, longest=pause, jitter=0), early_calls=early_calls)
    with SyncClient(server[1], config=config) as client:
        assert client.call("a.b") == 3
        # The rest itself: it waits for nobody.
        threading.Event().wait(pause)
        assert client.call("a.b") == 3
    assert server[0].connections == 2
