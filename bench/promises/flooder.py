"""A hostile client in a process of its own: `python -m bench.promises.flooder ADDRESS KIND CONNECTIONS`.

The program writes as fast as the server reads until its connection is closed, and does not reconnect. When its input
closes it prints as JSON how many calls it opened a second and how often it was disconnected.
"""

import json
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.compare.paths import ROOT
from fastrpc._core.wire.settings import usual_settings
from fastrpc_harness.recording import RecordingConnection

#: Frames written together, and bytes given to the system at a time.
TOGETHER = 4_096
WRITE_BYTES = 2**18

#: Until the process has ended.
END_SECONDS = 10.0

__all__ = ["FLOODS", "cancelled", "flooding", "request"]

HEADER = struct.Struct("<IBBBBQ")
REQUEST, CANCEL = 0x82, 0x87


def request(
    call: int,
    method: bytes,
    payload: bytes = b"\x90",
    *,
    metadata: bytes = b"",
    codec: int = 1,
    compressor: int = 0,
) -> bytes:
    head = struct.pack("<BBBBHHQ", 2, 0, 0, 0, len(method), len(metadata), 0)
    body = head + method + metadata + payload
    return HEADER.pack(len(body), REQUEST, 0, codec, compressor, call) + body


def cancelled(call: int) -> bytes:
    """Return a call and its CANCEL."""
    return request(call, b"bench.wait") + HEADER.pack(4, CANCEL, 0, 0, 0, call) + bytes(4)


FLOODS: dict[str, Callable[[int], bytes]] = {
    "cancelled": cancelled,
    "unknown": lambda call: request(call, b"bench.echo%d" % call),
    "malformed": lambda call: request(call, b"bench.wait", metadata=b"\0"),
    "undecodable": lambda call: request(call, b"bench.wait", b"\xc1"),
}


class _Flood:
    """One connection."""

    def __init__(self, address: tuple[str, int], make: Callable[[int], bytes]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self.calls = 0
        self._make = make
        self._connection = RecordingConnection(is_client=True, settings=usual_settings(False))
        self._unsent = memoryview(self._connection.data_to_send())
        self._is_open = False

    def read(self) -> bool:
        """Read the server's output; False: the connection is over."""
        try:
            data = self.socket.recv(2**18)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not self._is_open and data:
            self._connection.receive_data(data)
            self._unsent = memoryview(bytes(self._unsent) + self._connection.data_to_send())
            self._is_open = True
        return bool(data)

    def write(self) -> bool:
        """Write until the system takes no more; False: the connection is over."""
        if not self._unsent and self._is_open:
            first = 2 * self.calls + 1
            self._unsent = memoryview(b"".join(map(self._make, range(first, first + 2 * TOGETHER, 2))))
            self.calls += TOGETHER
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent[:WRITE_BYTES]) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


@contextmanager
def flooding(address: str, kind: str, connections: int) -> Iterator[dict[str, float]]:
    """Flood a server while the block runs; afterwards the dictionary has the results."""
    command = [sys.executable, "-m", "bench.promises.flooder", address, kind, str(connections)]
    found: dict[str, float] = {}
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield found
        finally:
            output, _ = process.communicate(timeout=END_SECONDS)
    found.update(json.loads(output))


def flood(address: tuple[str, int], make: Callable[[int], bytes], connections: int) -> dict[str, float]:
    """Flood until standard input closes."""
    calls = thrown_out = 0
    began = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        for _ in range(connections):
            each = _Flood(address, make)
            selector.register(each.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, each)
        while True:
            for key, events in selector.select():
                if key.fileobj is sys.stdin:
                    calls += sum(other.data.calls for other in selector.get_map().values() if other.data)
                    return {
                        "calls_per_second": calls / (time.monotonic() - began),
                        "thrown_out": thrown_out,
                    }
                each = key.data
                lives = not events & selectors.EVENT_READ or each.read()
                if lives and events & selectors.EVENT_WRITE:
                    lives = each.write()
                if not lives:
                    selector.unregister(each.socket)
                    each.socket.close()
                    calls += each.calls
                    thrown_out += 1


def main(address: str, kind: str, connections: str) -> None:
    """Print the finding as one line of JSON."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    print(json.dumps(flood((host, int(port)), FLOODS[kind], int(connections))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
