"""The end of a TLS stream: by close_notify, or cut; and data in small or joined pieces."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import fastrpc
from fastrpc import TLS, Client, ClientConfig, ConnectionLostError, Server, ServerConfig, SyncClient
from fastrpc.endpoint import Address
from fastrpc.transports.base import ListenOptions, transport_for
from tests.support.certificates import Authority, Certificate
from tests.support.peer_writing import write_to
from tests.support.recording_session import Sessions


@fastrpc.service("ends")
class Ends:
    def __init__(self) -> None:
        self.begun = asyncio.Event()

    @fastrpc.method
    async def echo(self, data: bytes) -> bytes:
        return data

    @fastrpc.method
    async def wait(self) -> None:
        self.begun.set()
        await asyncio.Event().wait()


class Relay:
    """A TCP relay that can cut both sides, as somebody between them could, and holds the pieces it passes small."""

    def __init__(self, service: Ends, port: int, piece_bytes: int) -> None:
        self.service = service
        self._port = port
        self._piece_bytes = piece_bytes
        self._writers: list[asyncio.StreamWriter] = []
        self.received = bytearray()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, far_writer]
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(self._piece_bytes):
                self.received += data
                write_to(writer, data)
                await writer.drain()
            writer.close()
        except ConnectionError:
            writer.close()

    def cut(self) -> None:
        """End both streams by FIN, without a word of TLS."""
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def relayed(certificate: Certificate, piece_bytes: int = 65_536) -> AsyncIterator[tuple[str, Relay]]:
    service = Ends()
    async with Server(service, config=ServerConfig(tls=certificate.tls())) as server:
        relay = Relay(service, (await server.listen("tls://127.0.0.1:0")).port, piece_bytes)
        listening = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
        try:
            yield f"tls://127.0.0.1:{listening.sockets[0].getsockname()[1]}", relay
        finally:
            listening.close()
            relay.cut()


def trusting(authority: Authority) -> ClientConfig:
    return ClientConfig(tls=TLS(ca_file=authority.cert_file))


async def test_a_stream_that_ends_without_close_notify_is_a_lost_connection(
    authority: Authority, server_certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "fastrpc.server")
    async with relayed(server_certificate) as (target, relay):
        async with Client(target, config=trusting(authority)) as client:
            await client.call(Ends.echo, b"")
            waiting = asyncio.ensure_future(client.call(Ends.wait))
            await relay.service.begun.wait()
            relay.cut()
            with pytest.raises(ConnectionLostError, match="ended the TLS stream without close_notify"):
                await waiting


async def test_a_blocking_client_sees_the_cut_too(
    authority: Authority, server_certificate: Certificate
) -> None:
    def work(target: str) -> None:
        with SyncClient(target, config=trusting(authority)) as client:
            client.call(Ends.echo, b"")
            with pytest.raises(ConnectionLostError, match="ended the TLS stream without close_notify"):
                client.call(Ends.wait)

    async with relayed(server_certificate) as (target, relay):
        working = asyncio.ensure_future(asyncio.to_thread(work, target))
        await relay.service.begun.wait()
        relay.cut()
        await working


@pytest.mark.parametrize("piece_bytes", [1, 7, 1_000])
async def test_records_in_pieces_of_any_size_are_put_together(
    authority: Authority, server_certificate: Certificate, piece_bytes: int
) -> None:
    data = bytes(range(256)) * (100 if piece_bytes > 1 else 4)
    async with relayed(server_certificate, piece_bytes) as (target, _):
        async with Client(target, config=trusting(authority)) as client:
            assert await client.call(Ends.echo, data) == data
        with SyncClient(target, config=trusting(authority)) as blocking:
            assert await asyncio.to_thread(blocking.call, Ends.echo, data) == data
            await asyncio.to_thread(blocking.close)


async def test_no_plain_text_is_on_the_line(authority: Authority, server_certificate: Certificate) -> None:
    secret = b"planted secret " * 100
    async with relayed(server_certificate) as (target, relay):
        async with Client(target, config=trusting(authority)) as client:
            assert await client.call(Ends.echo, secret) == secret
        assert len(relay.received) > 2 * len(secret)
        for word in (b"planted", b"ends", b"echo", b"fastrpc/1.0"):
            assert word not in relay.received


async def test_a_server_that_drains_says_close_notify(
    authority: Authority, server_certificate: Certificate
) -> None:
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    context.set_alpn_protocols(["fastrpc/1"])
    async with Server(Ends(), config=ServerConfig(tls=server_certificate.tls())) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        # Strangers get the reason, then the end; `read` of a stream that was cut raises.
        write_to(writer, b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_a_server_that_closes_in_the_middle_of_a_handshake_waits_a_moment_for_its_end(
    server_certificate: Certificate,
) -> None:
    sessions = Sessions()
    transport = transport_for(Address("tls", host="127.0.0.1"))
    options = ListenOptions(tls=server_certificate.tls())
    listener = await transport.listen(Address("tls", host="127.0.0.1"), sessions, options)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.address.port)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=None)
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    write_to(writer, outgoing.read())
    # Its answer: it has heard us, and waits for our second part, which never comes.
    assert await reader.read(65_536)
    session = await sessions.one()
    session.transport.close()
    session.transport.close()
    assert session.transport.is_closing()
    assert "lost" not in session.events
    await session.until_event("lost")
    assert session.received == b""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    listener.close()
