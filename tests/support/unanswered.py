"""Floods of work without an answer: `python -m tests.support.unanswered PORT OPTIONS` sends as fast as it is read.

A block of frames is made once; before it is sent again only the bytes of its ids change. It prints as JSON how many
frames left a second.
"""

import json
import selectors
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.support.frame_factory import opening, request
from tests.support.key_updates import key_updates
from tests.support.rpcx_wire import Frame as RpcxFrame
from tests.support.socket_frames import CONTINUATION, PING, PONG, TEXT, client_frame
from tests.support.wire_frames import Credit
from tests.support.wire_layout import FLAG_ONE_WAY

__all__ = ["FLOODS", "NOTIFICATIONS"]

#: Frames of a block; their ids differ in the lowest thirteen bits.
TOGETHER = 4096

#: The number of these that a connection prepares, more than are read in a run.
KEY_UPDATES = 1_000_000

#: Bytes that may come before any credit is returned, and those after which it is.
MUCH_CREDIT = 1 << 30
CREDIT_BYTES = 1 << 19


def _notification(id: int) -> bytes:
    return request(id, b"\x91\x01", method=b"held.noted", flags=FLAG_ONE_WAY, codec=1)


def _expired(id: int) -> bytes:
    return request(id, b"\x91\x01", method=b"held.echo", timeout_us=1, codec=1)


def _rpcx(**fields: Any) -> Callable[[int], bytes]:
    return lambda id: RpcxFrame(path="held", method="noted", sequence=id, payload=b"\x01", **fields).encode()


#: How a frame is made, where its id lies, and whether that is written from its lowest byte on.
FLOODS: dict[str, tuple[Callable[[int], bytes], int, bool]] = {
    "one_way": (_notification, 8, True),
    "expired": (_expired, 8, True),
    "rpcx_one_way": (_rpcx(one_way=True), 4, False),
    "rpcx_heartbeat": (_rpcx(heartbeat=True), 4, False),
    "rpcx_expired": (_rpcx(metadata={"__ServerTimeout": "0"}), 4, False),
    "rpcx_unknown": (
        lambda id: RpcxFrame(path="held", method="absent", sequence=id, payload=b"\x01").encode(),
        4,
        False,
    ),
}


class _Flood:
    """One connection."""

    def __init__(self, port: int, kind: str) -> None:
        make, self._at, self._is_little = FLOODS[kind]
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.is_native = not kind.startswith("rpcx")
        if self.is_native:
            # Answers never wait for credit, which would come after thousands of requests: they would count as
            # unanswered.
            self.socket.sendall(opening(False) + Credit(0, MUCH_CREDIT).encode())
            # The server's preface, and most likely its settings: until then it grants little.
            self.socket.recv(1 << 16)
        self.socket.setblocking(False)
        self._block = bytearray(b"".join(make(2 * number + 1) for number in range(TOGETHER)))
        self.size = len(self._block) // TOGETHER
        self._round = 0
        self._low = [(2 * number + 1) >> 8 for number in range(TOGETHER)]
        self._unsent = memoryview(bytes(self._block))
        self._credit = b""
        self._received = 0
        self.sent_bytes = 0

    def write(self) -> None:
        if not self._unsent:
            self._unsent = memoryview(self._credit + self._next())
            self._credit = b""
        try:
            sent = self.socket.send(self._unsent[: 1 << 17])
        except BlockingIOError:
            return
        self.sent_bytes += sent
        self._unsent = self._unsent[sent:]

    def read(self) -> None:
        data = self.socket.recv(1 << 21)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._received += len(data)
        if self.is_native and self._received > CREDIT_BYTES:
            self._credit += Credit(0, self._received).encode()
            self._received = 0

    def _next(self) -> bytes:
        """Return the block with the ids that follow."""
        self._round += 1
        first = self._round * 2 * TOGETHER
        for place in range(1, 6):
            at = self._at + (place if self._is_little else 7 - place)
            if place == 1:
                self._block[at :: self.size] = bytes(low & 0xFF | first >> 8 & 0xFF for low in self._low)
            else:
                self._block[at :: self.size] = bytes([first >> 8 * place & 0xFF]) * TOGETHER
        return bytes(self._block)


def _post(*notifications: str) -> bytes:
    body = notifications[0] if len(notifications) == 1 else f"[{','.join(notifications)}]"
    head = "POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


_NOTED = '{"jsonrpc":"2.0","method":"held.noted","params":{"number":1}}'

_SOCKET_OPENING = (
    b"GET /jsonrpc HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

#: The first bytes, the repeated bytes, and the number of calls in them.
NOTIFICATIONS: dict[str, tuple[bytes, bytes, int]] = {
    "jsonrpc": (b"", _post(_NOTED), 1),
    "jsonrpc_batch": (b"", _post(*[_NOTED] * 100), 100),
    "jsonrpc_socket": (_SOCKET_OPENING, client_frame(TEXT, _NOTED.encode()), 1),
    "jsonrpc_socket_batch": (
        _SOCKET_OPENING,
        client_frame(TEXT, f"[{','.join([_NOTED] * 100)}]".encode()),
        100,
    ),
    "socket_pings": (_SOCKET_OPENING, client_frame(PING, b"ping"), 1),
    "socket_pongs": (_SOCKET_OPENING, client_frame(PONG, b"pong"), 1),
    "socket_pieces": (
        _SOCKET_OPENING + client_frame(TEXT, final=False),
        client_frame(CONTINUATION, final=False),
        1,
    ),
}


class _Notifications:
    """One connection that sends the same bytes again and again."""

    def __init__(self, port: int, kind: str) -> None:
        first, again, calls = NOTIFICATIONS[kind]
        self.socket = socket.create_connection(("127.0.0.1", port))
        if first:
            self.socket.sendall(first)
            answer = self.socket.recv(1 << 16)
            if not answer.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(f"the server answered {answer!r}")
        self.socket.setblocking(False)
        self.size = len(again) / calls
        self._block = again * max(1, (1 << 18) // len(again))
        self._unsent = memoryview(self._block)
        self.sent_bytes = 0

    def write(self) -> None:
        try:
            sent = self.socket.send(self._unsent[: 1 << 17])
        except BlockingIOError:
            return
        self.sent_bytes += sent
        self._unsent = self._unsent[sent:] or memoryview(self._block)

    def read(self) -> None:
        if not self.socket.recv(1 << 20):
            raise ConnectionError("the server closed the connection")


class _KeyUpdates:
    """One connection that updates its keys, as often as was prepared."""

    size = 27

    def __init__(self, port: int, _: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self._unsent = memoryview(key_updates(self.socket, opening(False), KEY_UPDATES))
        self.socket.setblocking(False)
        self.sent_bytes = 0

    def write(self) -> None:
        if not self._unsent:
            raise RuntimeError("the key updates are used up")
        try:
            sent = self.socket.send(self._unsent[: 1 << 17])
        except BlockingIOError:
            return
        self.sent_bytes += sent
        self._unsent = self._unsent[sent:]

    def read(self) -> None:
        if not self.socket.recv(1 << 16):
            raise ConnectionError("the server closed the connection")


def main(port: int, told: dict[str, Any]) -> None:
    """Flood for as long as asked."""
    kind = told["kind"]
    made = _KeyUpdates if kind == "key_updates" else _Notifications if kind in NOTIFICATIONS else _Flood
    floods = [made(port, kind) for _ in range(told.get("connections", 1))]
    print("flooding", flush=True)
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for flood in floods:
            selector.register(flood.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, flood)
        while time.perf_counter() < began + told["seconds"]:
            for key, events in selector.select():
                if events & selectors.EVENT_READ:
                    key.data.read()
                if events & selectors.EVENT_WRITE:
                    key.data.write()
    took = time.perf_counter() - began
    rate = sum(flood.sent_bytes / flood.size for flood in floods) / took
    print(json.dumps({"rate": rate, "core": time.process_time() / took}))


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
