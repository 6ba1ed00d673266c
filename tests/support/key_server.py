"""An HTTP server on loopback that answers with a key set, or with any bytes of a test."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["KeyServer", "key_server"]


class KeyServer:
    """The server's answer, and the number of requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 200
        self.body = b"{}"
        self.headers: dict[str, str] = {}
        self.is_endless = False
        self.asked: list[str] = []


@contextmanager
def key_server(context: ssl.SSLContext | None = None) -> Iterator[KeyServer]:
    """Run a server for the time of a test; with a context it speaks TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.asked.append(self.path)
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            if state.is_endless:
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(b" " * 65_536)
                except OSError:
                    return
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if context is None else "https"
    state = KeyServer(f"{scheme}://127.0.0.1:{server.server_port}/keys")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
