"""A server that answers each call rightly, and floods its client with answers that it did not ask for.

::

    python -m tests.support.hostile_server KIND

prints its address, and for each line of its input how many hostile frames it has sent, and how many of them the client
has handled; it ends with its input.

Some floods follow a right answer: their first frame ends the connection by a rule (PROTOCOL.md, "Calls: what the caller
does"), so one of them counts as handled. Other floods come before a right answer, or end with a frame that ends the
connection: they were handled once the client's next frame came.
"""

import contextlib
import socket
import sys
import threading
from collections.abc import Callable

from tests.support.frame_factory import opening, piece
from tests.support.rpcx_wire import Frame as RpcxFrame
from tests.support.rpcx_wire import RpcxParser, answered_with
from tests.support.wire_frames import Cancel, Data, Goaway, Head, Request, Response
from tests.support.wire_parser import Parser

__all__ = ["ENDING", "GOING_ON", "LATE_METHOD", "WRONG"]

#: An answer that no call asked for, as a number in msgpack.
WRONG = b"\xcd\xff\xff"

#: Hostile frames for a call of this id, which is answered: the first of them ends the connection.
ENDING: dict[str, Callable[[int], bytes]] = {
    "twice": lambda call: Response(call, 0, WRONG, codec=1).encode(),
    "finished": lambda call: Response(max(1, call - 2), 0, WRONG, codec=1).encode(),
    "unknown": lambda call: Response(call + 2**40, 0, WRONG, codec=1).encode(),
    "foreign": lambda call: Response(call + 1, 0, WRONG, codec=1).encode(),
    "endless": lambda call: Response(call, 0, WRONG, codec=1, total=2**20).encode(),
    "messages": lambda call: Data(call, WRONG, codec=1).encode(),
}


def _stray(before: int) -> Callable[[RpcxFrame], bytes]:
    """Return a function that writes an answer to another call than the received one."""

    def made(asked: RpcxFrame) -> bytes:
        # A sequence is as wide as this.
        sequence = (asked.sequence - before) % 2**64
        return answered_with(asked, 65_535, sequence=sequence).encode()

    return made


#: Frames by rpcx, which lets a client pass over answers that no call waits for.
STRAY: dict[str, Callable[[RpcxFrame], bytes]] = {
    "rpcx_twice": _stray(1),
    "rpcx_finished": _stray(3),
    "rpcx_unknown": _stray(2**40),
    "rpcx_foreign": _stray(-1),
}

#: `late_…`: frames after the CANCEL of a call whose deadline passed. `pieces`: an answer longer than stated.
GOING_ON = ("late_messages", "late_heads", "pieces", *STRAY)

#: Calls of this method are answered once they are cancelled.
LATE_METHOD = "echo.late"

#: Frames of one write, and writes for one answer.
AT_ONCE = 1_000
WRITES = 20
LARGEST_FRAME = 16 * 1024 * 1024

#: The size that an answer states, and its pieces. An allocator keeps the memory of a much larger answer.
STATED_BYTES = 1024 * 1024
PIECE_BYTES = 64
PIECES = STATED_BYTES // PIECE_BYTES


class Flood:
    """One connection."""

    def __init__(self, connected: socket.socket, kind: str, counts: list[int]) -> None:
        self.socket = connected
        self.kind = kind
        self.counts = counts
        self.unproved = 0

    def send(self, frame: bytes, writes: int, told: int | None = None) -> None:
        """Send the same frame repeatedly; the given number of frames is handled, by default all."""
        self.unproved += writes * AT_ONCE if told is None else told
        for _ in range(writes):
            self.socket.sendall(frame * AT_ONCE)
            self.counts[0] += AT_ONCE

    def prove(self) -> None:
        """The client has sent a frame after all of these."""
        self.counts[1] += self.unproved
        self.unproved = 0


class NativeFlood(Flood):
    def run(self) -> None:
        parser = Parser(True, max_frame=LARGEST_FRAME)
        parser.window_left = 2**40
        self.socket.sendall(opening(True))
        while received := self.socket.recv(65_536):
            parser.feed(received)
            while (frame := parser.next_frame()) is not None:
                if isinstance(frame, Request | Goaway):
                    self.prove()
                if isinstance(frame, Request):
                    self.answer(frame)
                elif isinstance(frame, Cancel):
                    self.flood_late(frame.id)

    def answer(self, frame: Request) -> None:
        if frame.method == LATE_METHOD.encode():
            return
        if self.kind == "pieces":
            self.socket.sendall(Response(frame.id, 0, b"", codec=1, total=STATED_BYTES).encode())
            # The first piece after the stated end ends the connection.
            self.send(piece(frame.id, bytes(PIECE_BYTES), more=True), PIECES // AT_ONCE + 1, PIECES)
            return
        # The only element of the array is the value.
        self.socket.sendall(Response(frame.id, 0, frame.payload[1:], codec=1).encode())
        if self.kind in ENDING:
            self.send(ENDING[self.kind](frame.id), WRITES, 1)

    def flood_late(self, call: int) -> None:
        late = Data(call, WRONG, codec=1) if self.kind == "late_messages" else Head(call)
        self.send(late.encode(), WRITES)
        self.socket.sendall(Response(call, 1).encode())


class RpcxFlood(Flood):
    def run(self) -> None:
        parser = RpcxParser()
        while received := self.socket.recv(65_536):
            for frame in parser.feed(received):
                self.prove()
                self.send(STRAY[self.kind](frame), WRITES)
                self.socket.sendall(answered_with(frame, frame.value()).encode())


def serve(connected: socket.socket, kind: str, counts: list[int]) -> None:
    """Answer the calls of one connection until the client has enough."""
    flood = (RpcxFlood if kind in STRAY else NativeFlood)(connected, kind, counts)
    with connected:
        # The client may give it up.
        with contextlib.suppress(OSError):
            flood.run()
        if kind in ENDING:
            flood.prove()


def main(kind: str) -> None:
    #: The frames that were sent, and that were handled.
    counts = [0, 0]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"tcp://127.0.0.1:{listening.getsockname()[1]}", flush=True)

        def accept() -> None:
            while True:
                connected, _ = listening.accept()
                threading.Thread(target=serve, args=(connected, kind, counts), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        while sys.stdin.readline():
            print(*counts, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
