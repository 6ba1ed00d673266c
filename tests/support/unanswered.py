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
from tests.support.wire_frames import Credit
from tests.support.wire_layout import FLAG_ONE_WAY

__all__ = ["FLOODS"]

#: Frames of a block; their ids differ in the lowest thirteen bits. All their refusals fit the window for answers.
TOGETHER = 4096

#: What a connection prepares of these, more than are read in a run.
KEY_UPDATES = 1_000_000

#: Bytes received before credit is returned.
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
            self.socket.sendall(opening(False))
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
    kind = _KeyUpdates if told["kind"] == "key_updates" else _Flood
    floods = [kind(port, told["kind"]) for _ in range(told.get("connections", 1))]
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
