"""TLS of a blocking connection: its handshake, in time or not, and its end."""

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from fastrpc import TLS
from fastrpc._core.io.tls_blocking_io import TLSBlockingIO
from fastrpc.tls.ends import ClientEnd
from tests.support.certificates import Authority, Certificate


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("blocking"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Certificate:
    return authority.certificate()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        far.settimeout(10)
        yield near, far


def end_for(authority: Authority, name: str = "localhost") -> ClientEnd:
    return ClientEnd(TLS(ca_file=authority.cert_file), name)


def serve(
    far: socket.socket, certificate: Certificate, then: Callable[[ssl.SSLSocket], None]
) -> threading.Thread:
    """Do a server's handshake in a thread, and continue with a function."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    context.set_alpn_protocols(["fastrpc/1"])

    def run() -> None:
        try:
            with context.wrap_socket(far, server_side=True) as wrapped:
                then(wrapped)
        except OSError:
            far.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_the_handshake_opens_and_the_socket_waits_without_a_timeout_again(
    pair: tuple[socket.socket, socket.socket], authority: Authority, certificate: Certificate
) -> None:
    thread = serve(pair[1], certificate, lambda wrapped: None)
    io = TLSBlockingIO(pair[0], end_for(authority))
    io.open(10)
    assert io.ssl_object.version() == "TLSv1.3"
    assert io.ssl_object.selected_alpn_protocol() == "fastrpc/1"
    assert (io.descriptor, io.socket, io.failure) == (pair[0].fileno(), pair[0], None)
    assert pair[0].gettimeout() is None
    io.close()
    thread.join(10)


def test_a_silent_server_is_abandoned_in_time(
    pair: tuple[socket.socket, socket.socket], authority: Authority
) -> None:
    io = TLSBlockingIO(pair[0], end_for(authority))
    with pytest.raises(TimeoutError, match="no TLS handshake in time"):
        io.open(0.05)
    with pytest.raises(TimeoutError, match="no TLS handshake in time"):
        TLSBlockingIO(pair[0], end_for(authority)).open(0)


def test_a_server_that_leaves_or_speaks_otherwise_is_named(
    pair: tuple[socket.socket, socket.socket], authority: Authority
) -> None:
    pair[1].sendall(b"220 mail.example ESMTP\r\n")
    with pytest.raises(OSError, match="does not speak TLS"):
        TLSBlockingIO(pair[0], end_for(authority)).open(10)
    near, far = socket.socketpair()
    with near, far:
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(OSError, match="closed the connection during the TLS handshake"):
            TLSBlockingIO(near, end_for(authority)).open(10)


def test_a_refused_certificate_is_told_to_the_server(
    pair: tuple[socket.socket, socket.socket], authority: Authority, certificate: Certificate
) -> None:
    told: list[str] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    context.set_alpn_protocols(["fastrpc/1"])

    def run() -> None:
        try:
            context.wrap_socket(pair[1], server_side=True).recv(1)
        except ssl.SSLError as error:
            told.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    io = TLSBlockingIO(pair[0], end_for(authority, "other.example"))
    with pytest.raises(OSError, match="for another host name"):
        io.open(10)
    thread.join(10)
    assert "alert" in told[0].lower()


def test_closing_twice_closes_no_foreign_descriptor(
    pair: tuple[socket.socket, socket.socket], authority: Authority
) -> None:
    io = TLSBlockingIO(pair[0], end_for(authority))
    number = io.descriptor
    io.close()
    # The lowest free number: the number of the socket just closed.
    other = os.dup(pair[1].fileno())
    io.close()
    os.fstat(other)
    os.close(other)
    assert (other, io.descriptor) == (number, -1)
