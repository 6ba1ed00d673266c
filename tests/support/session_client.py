"""A TLS client that keeps its session, as Java's does: a plain socket that asks one question."""

import socket
import ssl
from contextlib import suppress

from tests.support.certificates import Authority, Certificate
from tests.support.http2_frames import OPENING
from tests.support.rpcx_wire import Frame

__all__ = ["QUESTIONS", "SessionClient", "in_records"]

#: By protocol: its name in ALPN, the request, the beginning of the answer.
QUESTIONS = {
    "native": ("fastrpc/1", b"\xf5FRP\x01\x01\x00\x00", b"\xf5FRP"),
    "http": ("http/1.1", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 "),
    "grpc": ("h2", OPENING, b"\x00\x00"),
    "rpcx": (None, Frame(heartbeat=True).encode(), b"\x08"),
}


class SessionClient:
    """A client with a cache of one session.

    Args:
        version: the only version of TLS that it speaks.
    """

    def __init__(
        self,
        authority: Authority,
        certificate: Certificate | None = None,
        *,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        protocol: str = "native",
    ) -> None:
        self.context = ssl.create_default_context(cafile=str(authority.cert_file))
        self.context.minimum_version = self.context.maximum_version = version
        name, self._question, self._answer = QUESTIONS[protocol]
        if name is not None:
            self.context.set_alpn_protocols([name])
        if certificate is not None:
            self.context.load_cert_chain(certificate.cert_file, certificate.key_file)
        self.session: ssl.SSLSession | None = None
        #: Whether the last connection resumed a session.
        self.has_resumed: bool | None = None

    def is_served(self, port: int) -> bool:
        """Connect with the session of the last time, ask, and keep the session of this time."""
        with socket.create_connection(("127.0.0.1", port), 20) as connected:
            try:
                opened = self.context.wrap_socket(
                    connected, server_hostname="localhost", session=self.session
                )
            except (ssl.SSLError, ConnectionError):
                return False
            with opened:
                try:
                    opened.sendall(self._question)
                    answer = opened.recv(len(self._answer))
                except (ssl.SSLError, ConnectionError):
                    # TLS 1.3 refuses a certificate after the handshake of the client.
                    return False
                self.session, self.has_resumed = opened.session, opened.session_reused
                # With close_notify OpenSSL keeps the session; the remaining answer does not matter.
                with suppress(ssl.SSLError, ConnectionError):
                    opened.unwrap()
        return answer == self._answer

    def hello(self) -> bytes:
        """Return the record with the ClientHello of the next connection."""
        outgoing = ssl.MemoryBIO()
        shaking = self.context.wrap_bio(
            ssl.MemoryBIO(), outgoing, server_hostname="localhost", session=self.session
        )
        with suppress(ssl.SSLWantReadError):
            shaking.do_handshake()
        return outgoing.read()


def in_records(hello: bytes, size: int) -> bytes:
    """Return a ClientHello again, in records with the given number of bytes of it."""
    parts = [hello[place : place + size] for place in range(5, len(hello), size)]
    return b"".join(hello[:3] + len(part).to_bytes(2) + part for part in parts)
