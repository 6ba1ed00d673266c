"""A certificate whose name is in its subject alone: each client says that it has no subjectAltName."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from fastrpc import TLS
from fastrpc.tls.ends import HttpEnd
from fastrpc.tls.failures import HandshakeError
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("nameless"))


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)
    yield ours, theirs
    ours.close()
    theirs.close()


def refused(
    ours: socket.socket, theirs: socket.socket, end: HttpEnd, folder: Authority, names: str
) -> HandshakeError:
    """Return the error of a handshake with a server whose certificate has these alternative names."""
    shown = folder.certificate(names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.cert_file, shown.key_file)

    def serve() -> None:
        with suppress(OSError), context.wrap_socket(theirs, server_side=True):
            pass

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    with pytest.raises(HandshakeError) as raised:
        end.wrap(ours)
    serving.join(10)
    return raised.value


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "certificate1"])
def test_a_client_of_a_registry_names_the_missing_field(
    connected: tuple[socket.socket, socket.socket], authority: Authority, name: str
) -> None:
    end = HttpEnd(TLS(ca_file=authority.cert_file), name)
    error = refused(*connected, end, authority, "")
    assert "it has no subjectAltName, and a name in its subject does not count" in str(error)
    assert error.hint is not None
    assert "subjectAltName" in error.hint
    # The socket is closed, though the handshake never ended.
    assert connected[0].fileno() == -1


def test_a_certificate_for_other_names_is_reported_as_such(
    connected: tuple[socket.socket, socket.socket], authority: Authority
) -> None:
    end = HttpEnd(TLS(ca_file=authority.cert_file), "localhost")
    error = refused(*connected, end, authority, "DNS:other.example")
    assert "it is for another host name" in str(error)
    assert "subjectAltName" not in str(error)
