"""A server that answers each call rightly, and floods its client with answers that it did not ask for.

::

    python -m tests.support.hostile_server KIND

prints its address, and for each line of its input how many hostile frames it has sent; it ends with its input. They
follow each right answer, as long as the client takes them.
"""

import socket
import sys
import threading
from collections.abc import Callable

from tests.support.frame_factory import opening
from tests.support.wire_frames import Data, Request, Response
from tests.support.wire_parser import Parser, Preface

__all__ = ["KINDS", "WRONG"]

#: What no call asked for, as a number in msgpack.
WRONG = b"\xcd\xff\xff"

#: Hostile frames for a call of this id, which is answered.
KINDS: dict[str, Callable[[int], bytes]] = {
    "twice": lambda call: Response(call, 0, WRONG, codec=1).encode(),
    "finished": lambda call: Response(max(1, call - 2), 0, WRONG, codec=1).encode(),
    "unknown": lambda call: Response(call + 2**40, 0, WRONG, codec=1).encode(),
    "foreign": lambda call: Response(call + 1, 0, WRONG, codec=1).encode(),
    "endless": lambda call: Response(call, 0, WRONG, codec=1, total=2**20).encode(),
    "messages": lambda call: Data(call, WRONG, codec=1).encode(),
}

#: Frames of one write, and writes behind one answer.
AT_ONCE = 1_000
WRITES = 20
LARGEST_FRAME = 16 * 1024 * 1024


def serve(connected: socket.socket, kind: str, sent: list[int]) -> None:
    """Answer the calls of one connection until the client has enough."""
    parser = Parser(True, max_frame=LARGEST_FRAME)
    parser.window_left = 2**40
    with connected:
        try:
            connected.sendall(opening(True))
            while received := connected.recv(65_536):
                parser.feed(received)
                while (frame := parser.next_frame()) is not None:
                    if isinstance(frame, Preface) or not isinstance(frame, Request):
                        continue
                    # The only element of the array is the value.
                    connected.sendall(Response(frame.id, 0, frame.payload[1:], codec=1).encode())
                    hostile = KINDS[kind](frame.id) * AT_ONCE
                    for _ in range(WRITES):
                        connected.sendall(hostile)
                        sent.append(AT_ONCE)
        except OSError:
            # The client gave it up.
            return


def main(kind: str) -> None:
    sent: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"tcp://127.0.0.1:{listening.getsockname()[1]}", flush=True)

        def accept() -> None:
            while True:
                connected, _ = listening.accept()
                threading.Thread(target=serve, args=(connected, kind, sent), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        while sys.stdin.readline():
            print(sum(sent), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
