"""An address that answers requests for admin pages with any bytes, in threads, and keeps the requests."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["AdminLiar", "admin_liar", "answered"]


class AdminLiar:
    """Listens at a port of loopback.

    Args:
        lie: gets each connection once a request was received.
    """

    def __init__(self, lie: Callable[[socket.socket], None]) -> None:
        self._lie = lie
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        #: All requests.
        self.requests: list[str] = []
        self.connections = 0
        self._peers: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self.connections += 1
                self._peers.append(peer)
                threading.Thread(target=self._serve, args=[peer], daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with suppress(OSError), peer:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = peer.recv(65_536)
                if not piece:
                    return
                head += piece
            # A body that is left unread would reset the connection, and with it the answer.
            length = re.search(rb"\r\nContent-Length: (\d+)\r\n", head)
            while length is not None and len(head.partition(b"\r\n\r\n")[2]) < int(length[1]):
                head += peer.recv(65_536)
            # A client of another process may have found this port by chance, and sends anything.
            self.requests.append(head.decode(errors="backslashreplace"))
            self._lie(peer)

    def close(self) -> None:
        self._listener.close()
        for peer in self._peers:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)


@contextmanager
def admin_liar(lie: Callable[[socket.socket], None]) -> Iterator[AdminLiar]:
    liar = AdminLiar(lie)
    try:
        yield liar
    finally:
        liar.close()


def answered(body: bytes, status: str = "200 OK", *fields: str) -> Callable[[socket.socket], None]:
    """Return a lie that answers with a whole body."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""])
    return lambda peer: peer.sendall(head.encode() + body)
