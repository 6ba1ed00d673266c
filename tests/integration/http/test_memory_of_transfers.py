"""The memory of a server with long bodies whose one side is slow, in figures."""

from collections.abc import Iterator
from contextlib import suppress
from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET, create_connection, socket
from time import monotonic

import pytest

from fastrpc import Address, Memory
from tests.support.http_talk import request
from tests.support.looked_at import LookedAt
from tests.support.transfer_server import PIECE

pytestmark = [pytest.mark.one_loop, pytest.mark.measures]

MIB = 1024 * 1024
#: Bytes in buffers of the system, on both sides.
SYSTEM_BYTES = 8 * MIB
#: The bytes that the server may hold of a body, or of output that its client does not read; and the allowed further
#: growth of its memory.
MOST_BODY = MIB
MOST_OUTPUT = Memory().send_soft + 2 * MIB
MOST_GROWN = 6 * MIB

#: The number of waits of a handler until its sender stands still, and the looks in a row that find both standing still.
PAUSES = 200
STILL_LOOKS = 2

FORM = b'--X\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
LAST = b"\r\n--X--\r\n"


@pytest.fixture
def server() -> Iterator[LookedAt]:
    found = LookedAt("tests.support.transfer_server")
    yield found
    found.end()


def connected(server: LookedAt) -> socket:
    address = Address.parse(server.address)
    found = create_connection((address.host, address.port), timeout=60)
    for buffer in (SO_RCVBUF, SO_SNDBUF):
        found.setsockopt(SOL_SOCKET, buffer, 65_536)
    return found


def check_memory(found: list[int], idle: list[int], most_held: int) -> None:
    _, held, peak = found
    assert held <= most_held
    assert peak - idle[2] <= most_held + MOST_GROWN


class Sender:
    """The sender of a body, which is always ahead of its handler: it fills its socket, and then waits."""

    def __init__(self, server: LookedAt, talk: socket, size: int) -> None:
        self._server = server
        self._talk = talk
        self._size = size
        self.sent = 0
        talk.setblocking(False)

    @property
    def is_ahead(self) -> bool:
        """Whether there is more to send."""
        return self.sent < self._size

    def fill(self, least: int) -> list[int]:
        """Send until the socket takes no more, and the handler has taken so much; return the figures of the server."""
        over, still, moved = monotonic() + 30, 0, -1
        while still < STILL_LOOKS:
            assert monotonic() < over, (self.sent, moved, least)
            before, last = self.sent, moved
            self._send()
            # The exchange of a look is a turn of the server: it has read by then all that it is going to read.
            found = self._server.look()
            moved = found[0]
            still = still + 1 if (self.sent, moved) == (before, last) and moved >= least else 0
        return found

    def _send(self) -> None:
        with suppress(BlockingIOError):
            while self.is_ahead:
                self.sent += self._talk.send(PIECE[: self._size - self.sent])


@pytest.mark.parametrize(("path", "size"), [("/transfers/put", 1024 * MIB), ("/mounted/up", 100 * MIB)])
def test_a_long_body_for_a_slow_handler_is_sent_in_the_memory_of_a_window(
    server: LookedAt, path: str, size: int
) -> None:
    idle = server.look()
    before, behind = (FORM, LAST) if path == "/transfers/put" else (b"", b"")
    length = str(len(before) + size + len(behind))
    with connected(server) as talk:
        talk.sendall(
            request("POST", path, Content_Length=length, Content_Type="multipart/form-data; boundary=X")
            + before
        )
        sender, allowed, full = Sender(server, talk, size), 0, 0
        for _ in range(PAUSES):
            # The handler waits, and so does the sender.
            found = sender.fill(allowed)
            full += sender.is_ahead
            assert found[0] <= allowed + MOST_BODY
            assert sender.sent <= found[0] + MOST_BODY + SYSTEM_BYTES
            check_memory(found, idle, MOST_BODY)
            server.look(str(size // PAUSES))
            allowed += size // PAUSES
        found = sender.fill(allowed)
        # In its last pauses the whole rest fits the buffers of the system.
        assert full >= PAUSES - SYSTEM_BYTES * PAUSES // size - 1
        talk.setblocking(True)
        talk.sendall(behind)
        server.look(str(size))
        answer = b""
        while str(size).encode() not in answer:
            received = talk.recv(65_536)
            assert received, answer
            answer += received
    found = server.look()
    assert found[0] == size
    print(f"held {found[1] / MIB:.2f} MiB, resident +{(found[2] - idle[2]) / MIB:.1f} MiB, pauses: {full}")
    check_memory(found, idle, MOST_BODY)


def test_an_application_is_held_by_a_client_that_reads_slowly(server: LookedAt) -> None:
    size, received = 100 * MIB, 0
    idle = server.look()
    with connected(server) as talk:
        talk.sendall(request("GET", f"/mounted/down?{size}", Connection="close"))
        while data := talk.recv(MIB):
            received += len(data)
            # The exchange of each look is the pause of the client.
            assert server.look()[0] <= received + SYSTEM_BYTES
    assert received > size
    check_memory(server.look(), idle, MOST_OUTPUT)
