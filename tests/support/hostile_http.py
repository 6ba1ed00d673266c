"""An HTTP server that answers with the bytes of a test, in any pieces and for any time."""

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

__all__ = ["ENDLESS", "HostileHttpServer", "Reply", "answer", "dripping"]

#: The items of a reply: bytes to send, or None to send nothing for a moment.
Reply = Callable[[], Iterator[bytes | None]]

#: Seconds of a moment.
MOMENT = 0.1

#: Far more than any client takes.
ENDLESS = 1 << 40


def answer(body: Any, *, status: str = "200 OK", **headers: str) -> Reply:
    """Return a whole answer; a value other than bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"X-Consul-Index": "1", "Content-Length": str(len(content))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
    return lambda: iter([("\r\n".join(lines) + "\r\n\r\n").encode() + content])


def dripping(begin: bytes, drop: bytes = b" ") -> Reply:
    """Return an answer that never ends: a beginning, then a drop every moment."""
    return lambda: itertools.chain([begin], itertools.cycle([None, drop]))


class HostileHttpServer:
    """Serves on loopback while its block lasts; `replies` are used in order, the last one for ever.

    `requests` has the head of each request as text.
    """

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[str] = []
        self._came = threading.Condition()
        #: Bytes that the client took.
        self.sent = 0
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

    @property
    def connections(self) -> int:
        """How many there were."""
        return len(self._open)

    @property
    def place(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def await_requests(self, number: int) -> None:
        """Block until this many requests have come; TimeoutError after a minute."""
        with self._came:
            if not self._came.wait_for(lambda: len(self.requests) >= number, 60):
                raise TimeoutError(f"{len(self.requests)} of {number} requests came")

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while self._read(connection):
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                for piece in reply():
                    if self._over.is_set():
                        return
                    if piece is None:
                        self._over.wait(MOMENT)
                        continue
                    connection.sendall(piece)
                    self.sent += len(piece)

    def _read(self, connection: socket.socket) -> bool:
        """Take a request, its body included; returns whether there was one."""
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(65_536)
            if not piece:
                return False
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        with self._came:
            self.requests.append(head.decode("latin-1"))
            self._came.notify_all()
        lengths = [line[15:] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        while lengths and len(body) < int(lengths[0]):
            body += connection.recv(65_536)
        return True
