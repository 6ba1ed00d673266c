"""A socket that its peer has reset before the handshake of TLS."""

import gc
import select
import socket
import struct

import pytest

from fastrpc import TLS
from fastrpc.tls.ends import HttpEnd


def test_a_socket_that_was_reset_before_its_handshake_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connected = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        poll = select.poll()
        poll.register(connected, 0)
        assert poll.poll(20_000)
        with pytest.raises(OSError, match="closed the connection during the TLS handshake"):
            HttpEnd(TLS(), "localhost").wrap(connected)
        # An unclosed socket warns here, which fails the test.
        gc.collect()
        assert connected.fileno() == -1
