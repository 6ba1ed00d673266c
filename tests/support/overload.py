"""Overload by ready-made frames: `python -m tests.support.overload PORT OPTIONS` makes calls at fixed instants.

The frames of a whole run are made first, so that sending takes a fraction of a core. It prints as JSON how many calls
were due, how many were answered, refused and in time, and how long answers took. The time of a call is measured from
the instant at which it is due, so that waiting here counts as well.
"""

import collections
import json
import selectors
import socket
import struct
import sys
import time
from typing import Any

from hpack import Decoder

from fastrpc import Status
from tests.support import grpc_bytes
from tests.support.frame_factory import opening, request
from tests.support.http2_frames import ACK, END_STREAM, HEADERS, SETTINGS, WINDOW_UPDATE, raw
from tests.support.rpcx_wire import MSGPACK, RAW
from tests.support.rpcx_wire import Frame as RpcxFrame
from tests.support.socket_frames import TEXT, client_frame, read_frame
from tests.support.ways_in import MCP_META
from tests.support.wire_frames import Credit

__all__ = ["LINES"]

HEADER = struct.Struct("<IBBBBQ")
RESPONSE = 0x83
OK, DEADLINE, EXHAUSTED = 0, 4, 8

#: The interval of the instants of sending; calls with instants in between are sent in one write.
STEP_SECONDS = 0.004

#: Received bytes after which credit is returned.
CREDIT_BYTES = 1 << 20

#: After the last call is due, answers are awaited for so long.
LINGER_SECONDS = 2.0


class Line:
    """One connection. A subclass knows the frames of its protocol."""

    #: Whether the server's answer to the opening has come, where there is one.
    is_open = False

    def __init__(self, port: int, method: str, timeout: float) -> None:
        self.method = method
        #: Whether the method takes a number, as `held.echo` does, and not bytes.
        self.takes_number = method == "held.echo"
        self.timeout = timeout
        self.unsent = bytearray()
        self.received = bytearray()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unsent += self.first()
        self.socket.setblocking(False)

    def first(self) -> bytes:
        """Return the bytes that are sent before the first call."""
        return b""

    def frame(self, number: int) -> bytes:
        """Return the frame of a call."""
        raise NotImplementedError

    def answers(self) -> list[tuple[int, int]]:
        """Return number and status of the calls whose answers came."""
        raise NotImplementedError

    def write(self) -> None:
        if self.unsent:
            try:
                sent = self.socket.send(self.unsent)
            except BlockingIOError:
                return
            del self.unsent[:sent]

    def read(self) -> list[tuple[int, int]]:
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionError("the server closed the connection")
        self.received += data
        return self.answers()


class NativeLine(Line):
    """Many calls at a time."""

    _uncredited = 0

    def first(self) -> bytes:
        return opening(False)

    def frame(self, number: int) -> bytes:
        return request(
            2 * number + 1,
            b"\x91\x01" if self.takes_number else b"given",
            method=self.method.encode(),
            timeout_us=int(self.timeout * 1e6),
            codec=1 if self.takes_number else 0,
        )

    def answers(self) -> list[tuple[int, int]]:
        found = []
        at, size, received = 0, len(self.received), self.received
        if not self._uncredited and size >= 8 and received[:4] == b"\xf5FRP":
            at = 8
        while size - at >= HEADER.size:
            length, kind, _, _, _, number = HEADER.unpack_from(received, at)
            if size - at < HEADER.size + length:
                break
            if kind == RESPONSE:
                found.append((number >> 1, int.from_bytes(received[at + 18 : at + 20], "little")))
            at += HEADER.size + length
        del received[:at]
        self._uncredited += at
        if self._uncredited > CREDIT_BYTES:
            self.unsent += Credit(0, self._uncredited).encode()
            self._uncredited = 1
        return found


class RpcxLine(Line):
    """Many concurrent calls, whose deadlines are stated in milliseconds."""

    def frame(self, number: int) -> bytes:
        path, _, name = self.method.partition(".")
        return RpcxFrame(
            path=path,
            method=name,
            sequence=number,
            serialize=MSGPACK if self.takes_number else RAW,
            payload=b"\x01" if self.takes_number else b"given",
            metadata={"__ServerTimeout": str(int(self.timeout * 1000))},
        ).encode()

    def answers(self) -> list[tuple[int, int]]:
        found = []
        at, size, received = 0, len(self.received), self.received
        while size - at >= 16:
            length = int.from_bytes(received[at + 12 : at + 16], "big")
            if size - at < 16 + length:
                break
            status = OK
            if received[at + 2] & 3:
                status = DEADLINE if received.find(b"DEADLINE", at, at + 16 + length) > 0 else EXHAUSTED
            found.append((int.from_bytes(received[at + 4 : at + 12], "big"), status))
            at += 16 + length
        del received[:at]
        return found


class GrpcLine(Line):
    """Many calls at a time, whose deadlines are told in milliseconds."""

    def first(self) -> bytes:
        self._decoder = Decoder()
        return grpc_bytes.OPENING + raw(WINDOW_UPDATE, (1 << 30).to_bytes(4, "big"))

    def frame(self, number: int) -> bytes:
        return grpc_bytes.request(
            "/{0}/{2}".format(*self.method.rpartition(".")),
            grpc_bytes.number_field(1) if self.takes_number else b"given",
            ("grpc-timeout", f"{int(self.timeout * 1000)}m"),
            stream=2 * number + 1,
        )

    def answers(self) -> list[tuple[int, int]]:
        found = []
        at, size, received = 0, len(self.received), self.received
        while size - at >= 9:
            length = int.from_bytes(received[at : at + 3], "big")
            if size - at < 9 + length:
                break
            kind, flags = received[at + 3], received[at + 4]
            if kind == HEADERS:
                block: Any = self._decoder.decode(bytes(received[at + 9 : at + 9 + length]))
                if flags & END_STREAM:
                    stream = int.from_bytes(received[at + 5 : at + 9], "big")
                    found.append((stream >> 1, int(dict(block)["grpc-status"])))
            elif kind == SETTINGS and not flags & ACK:
                self.unsent += raw(SETTINGS, flags=ACK)
            at += 9 + length
        del received[:at]
        return found


class HttpLine(Line):
    """One call of `held.kept` at a time."""

    _asked = 0

    def ask(self, number: int) -> None:
        self._asked = number
        self.unsent += self.frame(number)

    def frame(self, number: int) -> bytes:
        return (
            "POST /held/kept HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f'Timeout-Ms: {int(self.timeout * 1000)}\r\nContent-Length: 20\r\n\r\n{{"milliseconds":1.5}}'
        ).encode()

    def answers(self) -> list[tuple[int, int]]:
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return []
        head = bytes(self.received[:end]).lower()
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(self.received) < end + 4 + length:
            return []
        status = int(head[9:12])
        del self.received[: end + 4 + length]
        return [(self._asked, OK if status == 200 else DEADLINE if status == 504 else EXHAUSTED)]


class JsonRpcLine(HttpLine):
    """One call of `held.kept` at a time, by JSON-RPC, whose requests tell their deadline in a field of HTTP."""

    #: Path, fields and body of a request.
    path = "/jsonrpc"
    fields = ""
    body = '{"jsonrpc":"2.0","id":1,"method":"held.kept","params":{"milliseconds":1.5}}'

    def frame(self, number: int) -> bytes:
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{self.fields}"
            f"Timeout-Ms: {int(self.timeout * 1000)}\r\nContent-Length: {len(self.body)}\r\n\r\n{self.body}"
        ).encode()

    def answers(self) -> list[tuple[int, int]]:
        head, _, rest = bytes(self.received).partition(b"\r\n\r\n")
        found = super().answers()
        return [(self._asked, self._status(json.loads(rest)))] if found and head else []

    def _status(self, answer: Any) -> int:
        return int(Status[answer["error"]["data"]["code"]]) if "error" in answer else OK


class BatchLine(JsonRpcLine):
    """One call at a time, as the only entry of a batch."""

    body = f"[{JsonRpcLine.body}]"

    def _status(self, answer: Any) -> int:
        return super()._status(answer[0])


class ToolLine(JsonRpcLine):
    """One call at a time, of a tool of language models."""

    path = "/mcp"
    fields = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: held_kept\r\n"
    body = json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "held_kept", "arguments": {"milliseconds": 1.5}, "_meta": MCP_META},
        }
    )


class SocketLine(Line):
    """One call, by a separate WebSocket."""

    def first(self) -> bytes:
        return (
            b"GET /ws/held/kept HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Protocol: fastrpc.json\r\n\r\n"
        )

    def frame(self, number: int) -> bytes:
        opening = {"arguments": {"milliseconds": 0}, "timeout_ms": int(self.timeout * 1000)}
        return client_frame(TEXT, json.dumps(opening).encode())

    def answers(self) -> list[tuple[int, int]]:
        if not self.is_open:
            head, _, rest = self.received.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101"), head
            self.received = rest
            self.is_open = True
        found = read_frame(bytes(self.received))
        if found is None:
            return []
        content = json.loads(found[0].content)
        code = content["error"]["code"] if "error" in content else "OK"
        return [(0, int(Status[code]))]


LINES = {
    "native": NativeLine,
    "rpcx": RpcxLine,
    "grpc": GrpcLine,
    "http": HttpLine,
    "jsonrpc": JsonRpcLine,
    "batch": BatchLine,
    "mcp": ToolLine,
    "websocket": SocketLine,
}


class Load:
    """A run."""

    def __init__(self, port: int, told: dict[str, Any]) -> None:
        kind = LINES[told.get("protocol", "native")]
        self.seconds = told["seconds"]
        self.rate = told["rate"]
        self.timeout = told["timeout"]
        self.lines = [kind(port, told["method"], self.timeout) for _ in range(told.get("connections", 16))]
        self.count = int(self.seconds * self.rate)
        self.is_single = issubclass(kind, HttpLine)
        self.blocks = [] if self.is_single else self._blocks()
        self.times: list[float] = []
        self.outcomes: collections.Counter[int] = collections.Counter()
        self.not_sent = 0
        self.began = 0.0
        self._free = collections.deque(self.lines)

    def _blocks(self) -> list[list[bytes]]:
        """Return the bytes of each line at each step."""
        steps = int(self.seconds / STEP_SECONDS) + 1
        blocks = [[b""] * len(self.lines) for _ in range(steps)]
        for number in range(self.count):
            line = number % len(self.lines)
            block = blocks[int(number / self.rate / STEP_SECONDS)]
            block[line] += self.lines[line].frame(number)
        return blocks

    def run(self) -> dict[str, Any]:
        with selectors.DefaultSelector() as selector:
            for line in self.lines:
                selector.register(line.socket, selectors.EVENT_READ, line)
                line.write()
            self._settle(selector, 0.5)
            self.began = time.perf_counter()
            spent = time.process_time()
            step = number = 0
            end = self.began + self.seconds
            while (now := time.perf_counter()) < end:
                due = int((now - self.began) / STEP_SECONDS) + 1
                if self.is_single:
                    number = self._ask(number, min(self.count, int((now - self.began) * self.rate) + 1))
                else:
                    self._take(self.blocks[step:due])
                    step = max(step, due)
                for line in self.lines:
                    line.write()
                self._settle(selector, max(0.0, self.began + due * STEP_SECONDS - time.perf_counter()))
            # The blocks of the last steps, if this had no time for them before the end.
            self._take(self.blocks[step:])
            took = time.process_time() - spent
            for _ in range(int(LINGER_SECONDS / STEP_SECONDS)):
                for line in self.lines:
                    line.write()
                self._settle(selector, STEP_SECONDS)
        times = sorted(self.times)
        return {
            "due": self.count,
            "ok": self.outcomes[OK],
            "in_time": sum(each <= self.timeout for each in times),
            "late": self.outcomes[DEADLINE],
            "refused": self.outcomes[EXHAUSTED],
            "unanswered": self.count - self.not_sent - sum(self.outcomes.values()),
            "not_sent": self.not_sent,
            "goodput": sum(each <= self.timeout for each in times) / self.seconds,
            "p50": times[len(times) // 2] if times else 0,
            "p99": times[int(len(times) * 0.99)] if times else 0,
            "core": took / self.seconds,
        }

    def _take(self, blocks: list[list[bytes]]) -> None:
        """Let each line send its bytes of these steps."""
        for block in blocks:
            for line, data in zip(self.lines, block, strict=True):
                line.unsent += data

    def _ask(self, number: int, due: int) -> int:
        while number < due:
            if self._free:
                self._free.popleft().ask(number)
            else:
                self.not_sent += 1
            number += 1
        return number

    def _settle(self, selector: selectors.BaseSelector, seconds: float) -> None:
        """Read all bytes that arrive until then."""
        until = time.perf_counter() + seconds
        while True:
            left = until - time.perf_counter()
            if left <= 0:
                return
            time.sleep(min(left, 0.001))
            for key, _ in selector.select(0):
                found = key.data.read()
                now = time.perf_counter()
                for number, status in found:
                    self.outcomes[status] += 1
                    if status == OK:
                        self.times.append(now - self.began - number / self.rate)
                if found and self.is_single:
                    self._free.append(key.data)


if __name__ == "__main__":
    print(json.dumps(Load(int(sys.argv[1]), json.loads(sys.argv[2])).run()))
