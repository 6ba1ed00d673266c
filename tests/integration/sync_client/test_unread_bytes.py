"""A blocking client reads nothing between calls: the next call first reads waiting bytes, and the end of the stream."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Backoff, ClientConfig, SyncClient
from tests.support.frame_factory import answer, header, opening
from tests.support.wire_frames import Request
from tests.support.wire_parser import Parser

#: PROTOCOL.md 3.3: the largest frame of an unknown kind; a connection may have 1,000 of them.
FILLER = header(0x7F, 16_384) + bytes(16_384)

#: Linux: more than `net.core.wmem_max`, for who may.
SO_SNDBUFFORCE = 32

#: A connection that ends young is made anew after a pause; these are never too young.
CONFIG = ClientConfig(backoff=Backoff(first=1e-6, longest=1e-6))


class Leaver:
    """A server whose first connection answers one call, sends unrequested frames, and ends.

    The second one answers every call.
    """

    def __init__(self, listener: socket.socket, unasked: bytes) -> None:
        self.requests: list[int] = []
        #: Set once the system has taken every byte.
        self.has_left = threading.Event()
        self._parsers = [Parser(True), Parser(True)]
        self._listener = listener
        self._unasked = unasked
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for number in range(2):
            with suppress(OSError):
                connection, _ = self._listener.accept()
                with connection:
                    self._answer(connection, number, 1 if number == 0 else 10)
                    if number == 0:
                        self._leave(connection)

    def _leave(self, connection: socket.socket) -> None:
        # Every byte and the end of the stream have to wait for the client: unsent bytes cannot be read.
        with suppress(PermissionError):
            connection.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 4 * len(self._unasked) + 65_536)
        connection.sendall(self._unasked)
        connection.shutdown(socket.SHUT_WR)
        self.has_left.set()
        parser = self._parsers[0]
        while received := connection.recv(65_536):
            parser.feed(received)
            while (frame := parser.next_frame()) is not None:
                if isinstance(frame, Request):
                    self.requests.append(0)

    def _answer(self, connection: socket.socket, number: int, most: int) -> None:
        parser = self._parsers[number]
        connection.sendall(opening(True))
        answered = 0
        while answered < most and (received := connection.recv(65_536)):
            parser.feed(received)
            while (frame := parser.next_frame()) is not None:
                if isinstance(frame, Request):
                    self.requests.append(number)
                    answered += 1
                    connection.sendall(answer(frame.id, b"\x2a", codec=1))


@contextmanager
def leaving(scheme: str, folder: Path, unasked: bytes) -> Iterator[tuple[Leaver, str]]:
    with socket.socket(socket.AF_UNIX if scheme == "unix" else socket.AF_INET) as listener:
        listener.bind(str(folder / "socket") if scheme == "unix" else ("127.0.0.1", 0))
        listener.listen()
        place = f"unix://{folder / 'socket'}"
        if scheme == "tcp":
            place = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        yield Leaver(listener, unasked), place


CALLS: dict[str, Callable[[SyncClient], Any]] = {
    "call": lambda client: [client.call("desk.mul", 6, 7)],
    "request": lambda client: [client.request("desk.mul", 6, 7).value],
    "call_many": lambda client: client.call_many("desk.mul", [(6, 7), (6, 7)]),
}


@pytest.mark.parametrize("mebibytes", [0, 1, 5, 12])
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_after_a_pause_uses_another_connection_for_any_number_of_unread_bytes(
    call: str, scheme: str, mebibytes: int, tmp_path: Path
) -> None:
    unasked = FILLER * (mebibytes * 64)
    with (
        leaving(scheme, tmp_path, unasked) as (server, address),
        SyncClient(address, config=CONFIG) as client,
    ):
        client.ready(5)
        assert client.call("desk.mul", 6, 7) == 42
        if not server.has_left.wait(10):
            pytest.skip(f"the system does not take {mebibytes} MiB before the client reads")
        # Only a connection that rested is looked at before a call.
        threading.Event().wait(0.02)
        assert set(CALLS[call](client)) == {42}
        assert server.requests.count(0) == 1
