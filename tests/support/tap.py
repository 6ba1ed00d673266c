"""The bytes that pass through a connection: for clients that block, and processes that fork."""

import socket
import threading
from types import TracebackType
from typing import Self

__all__ = ["Tap"]


class Tap:
    """Passes `tcp://` connections on to a server inside a `with` block, and keeps the bytes of their clients."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        #: The bytes of each client, in the order of their connections, and which of these have ended.
        self.sent: list[bytearray] = []
        self.ended: list[threading.Event] = []
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for one in self._sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:  # It ended by itself.
                continue
        for thread in self._threads:
            thread.join(10)
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            sent, ended = bytearray(), threading.Event()
            self.sent.append(sent)
            self.ended.append(ended)
            self._sockets += [client, server]
            for source, sink, noted, over in ((client, server, sent, ended), (server, client, None, None)):
                thread = threading.Thread(target=_pass_on, args=(source, sink, noted, over), daemon=True)
                self._threads.append(thread)
                thread.start()


def _pass_on(
    source: socket.socket, sink: socket.socket, noted: bytearray | None, over: threading.Event | None
) -> None:
    try:
        while chunk := source.recv(65_536):
            if noted is not None:
                noted += chunk
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # One of them is gone; the other one ends with the block.
        pass
    if over is not None:
        over.set()
