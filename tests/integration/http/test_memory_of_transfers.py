"""The memory of a server with long bodies whose one side is slow, in figures."""

from collections.abc import Iterator
from socket import SO_RCVBUF, SOL_SOCKET, create_connection, socket

import pytest

from fastrpc import Address, Memory
from tests.support.http_talk import request
from tests.support.looked_at import LookedAt
from tests.support.transfer_server import PIECE

pytestmark = [pytest.mark.one_loop, pytest.mark.measures]

MIB = 1024 * 1024
#: Bytes in buffers of the system, on both sides.
SYSTEM_BYTES = 8 * MIB
#: What the server may hold of a body, or of output that its client does not take; and what its memory may grow beyond.
MOST_BODY = MIB
MOST_OUTPUT = Memory().send_soft + 2 * MIB
MOST_GROWN = 6 * MIB

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
    found.setsockopt(SOL_SOCKET, SO_RCVBUF, 65_536)
    return found


def check_memory(server: LookedAt, idle: list[int], most_held: int) -> None:
    _, held, peak = server.look()
    print(f"held {held / MIB:.2f} MiB, resident +{(peak - idle[2]) / MIB:.1f} MiB")
    assert held <= most_held
    assert peak - idle[2] <= most_held + MOST_GROWN


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
        for _ in range(size // len(PIECE)):
            talk.sendall(PIECE)
        talk.sendall(behind)
        answer = b""
        while str(size).encode() not in answer:
            received = talk.recv(65_536)
            assert received, answer
            answer += received
    assert server.look()[0] == size
    check_memory(server, idle, MOST_BODY)


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
    check_memory(server, idle, MOST_OUTPUT)
