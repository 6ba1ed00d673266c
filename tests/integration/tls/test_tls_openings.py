"""Handshakes of TLS among too many openings: who sends something is not silent."""

import asyncio
import socket
import ssl
from contextlib import ExitStack

import pytest

from fastrpc import Admission, Server, ServerConfig
from fastrpc.config import Timeouts
from tests.support.arith import Arith
from tests.support.certificates import Authority, Certificate
from tests.support.peer_writing import write_to
from tests.support.toy_protocol import toy_link

assert toy_link is not None  # Its import registers the protocol "toy".

LIMIT = 4


class SlowHandshake:
    """A client whose half of a handshake is sent in pieces, as the test says."""

    def __init__(self, authority: Authority) -> None:
        context = ssl.create_default_context(cafile=str(authority.cert_file))
        context.set_alpn_protocols(["fastrpc/1"])
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._waiting = b""
        self._step()

    def _step(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._waiting += self._outgoing.read()
        return True

    async def connect(self, port: int) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)

    def send(self, size: int) -> None:
        """Send the given number of the unsent bytes."""
        write_to(self._writer, self._waiting[:size])
        self._waiting = self._waiting[size:]

    async def end(self) -> None:
        """Send the remaining bytes, and wait for the end of the handshake."""
        while True:
            self.send(len(self._waiting))
            if self._step():
                break
            received = await self._reader.read(65_536)
            assert received, "the server closed the connection"
            self._incoming.write(received)
        self.send(len(self._waiting))

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@pytest.mark.parametrize("protocols", [("native",), ("native", "toy")], ids=["native", "detected"])
async def test_a_handshake_whose_bytes_come_slowly_is_not_the_silent_one(
    authority: Authority, server_certificate: Certificate, protocols: tuple[str, ...]
) -> None:
    config = ServerConfig(
        tls=server_certificate.tls(),
        protocols=protocols,
        admission=Admission(handshakes=LIMIT),
        timeouts=Timeouts(handshake=60),
    )
    loop = asyncio.get_running_loop()
    async with Server(Arith, config=config) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        slow = SlowHandshake(authority)
        await slow.connect(port)
        slow.send(1)
        with ExitStack() as stack:
            silent = []
            for _ in range(LIMIT):
                silent.append(stack.enter_context(socket.socket()))
                silent[-1].setblocking(False)
                await loop.sock_connect(silent[-1], ("127.0.0.1", port))
            # The first one is one too many as soon as the slow client has been heard again.
            slow.send(20)
            async with asyncio.timeout(10):
                assert await loop.sock_recv(silent[0], 1) == b""
                await slow.end()
        await slow.close()
