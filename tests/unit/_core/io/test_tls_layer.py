"""The layer that encrypts, over a transport without a socket; its peer is `ssl` itself."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import TLS
from fastrpc._core.io.tls_layer import TLSLayer
from fastrpc.endpoint import Address
from fastrpc.tls.ends import ClientEnd, ServerEnd
from fastrpc.transports.base import DialOptions, ListenOptions, transport_for
from tests.support.certificates import Authority, Certificate
from tests.support.recording_session import RecordingSession, Sessions

APPLICATION_DATA = 23
RECORD_HEADER = 5


class Layer(TLSLayer, asyncio.BufferedProtocol):
    """As transports use it."""


class Wire(RecordingSession):
    """The other side of the transport: the bytes as they are on the line, decrypted by an object of `ssl`."""

    def __init__(self) -> None:
        super().__init__()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl_object: ssl.SSLObject
        self.plain = bytearray()
        self.is_open = False
        self.on_bytes = self._take

    def begin(self, context: ssl.SSLContext, **options: Any) -> None:
        self.ssl_object = context.wrap_bio(self.incoming, self.outgoing, **options)
        self._go_on()

    def _take(self, chunk: bytes) -> None:
        self.incoming.write(chunk)
        self._go_on()

    def _go_on(self) -> None:
        try:
            if not self.is_open:
                self.ssl_object.do_handshake()
                self.is_open = True
            while data := self.ssl_object.read():
                self.plain += data
        except ssl.SSLWantReadError:
            pass
        finally:
            self.flush()

    def flush(self) -> None:
        self.transport.write(self.outgoing.read())

    def say(self, data: bytes) -> None:
        self.ssl_object.write(data)
        self.flush()

    def records(self) -> list[tuple[int, int]]:
        """Return type and length of each record that was received."""
        found, rest = [], bytes(self.received)
        while rest:
            size = int.from_bytes(rest[3:RECORD_HEADER])
            found.append((rest[0], size))
            rest = rest[RECORD_HEADER + size :]
        return found


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("layer"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Certificate:
    return authority.certificate()


@pytest.fixture
async def line() -> AsyncIterator[tuple[Any, Wire]]:
    """Yield a transport without a socket, and its other end."""
    sessions = Sessions(Wire)
    transport = transport_for(Address("memory", path="layer"))
    listener = await transport.listen(Address("memory", path="layer"), sessions, ListenOptions())
    made, handover = await transport.dial(listener.address, RecordingSession, DialOptions())
    yield made, await sessions.one()  # type: ignore[misc]
    made.abort()
    await handover.until(lambda: True)
    listener.close()
    await listener.wait_closed()


def attach(transport: Any, end: Any, above: RecordingSession | None) -> Layer:
    layer = Layer(asyncio.get_running_loop(), end)
    if above is not None:
        layer.set_protocol(above)
    transport.set_protocol(layer)
    layer.connection_made(transport)
    return layer


def server_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    context.set_alpn_protocols(["fastrpc/1"])
    return context


async def opened_client(
    line: tuple[Any, Wire], authority: Authority, certificate: Certificate
) -> tuple[Layer, RecordingSession, Wire]:
    transport, wire = line
    wire.begin(server_context(certificate), server_side=True)
    layer = attach(transport, ClientEnd(TLS(ca_file=authority.cert_file), "localhost"), None)
    async with asyncio.timeout(10):
        await layer.opened()
    above = RecordingSession()
    layer.connect(above)
    # The last part of the handshake is not a record of ours.
    await wire.until(lambda: wire.is_open)
    wire.received.clear()
    return layer, above, wire


async def test_bytes_cross_and_the_facts_of_the_connection_are_reported(
    line: tuple[Any, Wire], authority: Authority, certificate: Certificate
) -> None:
    layer, above, wire = await opened_client(line, authority, certificate)
    assert layer.is_open
    assert layer.descriptor == -1
    assert layer.get_extra_info("alpn_protocol") == "fastrpc/1"
    assert layer.get_extra_info("cipher")[1] == "TLSv1.3"
    assert ("DNS", "localhost") in layer.get_extra_info("peercert")["subjectAltName"]
    assert layer.get_extra_info("ssl_object") is layer.ssl_object
    assert layer.get_extra_info("nothing", 7) == 7
    assert layer.get_protocol() is above
    layer.write(b"there")
    await wire.until(lambda: len(wire.plain) == 5)
    wire.say(b"and back")
    await above.until_received(8)
    assert (bytes(wire.plain), bytes(above.received)) == (b"there", b"and back")


@pytest.mark.parametrize(
    ("pieces", "records"),
    [
        ([b"a"] * 50, 1),
        ([b"", b"a", b""], 1),
        ([b"head", bytes(16_384)], 2),
        ([b"head", bytes(40_000), b"tail", b"end"], 1 + 3 + 1),
        ([bytes(100_000)], 7),
    ],
)
async def test_small_pieces_share_a_record_and_large_ones_fill_theirs(
    line: tuple[Any, Wire], authority: Authority, certificate: Certificate, pieces: list[bytes], records: int
) -> None:
    layer, _, wire = await opened_client(line, authority, certificate)
    layer.writelines(pieces)
    whole = b"".join(pieces)
    await wire.until(lambda: len(wire.plain) == len(whole))
    assert wire.plain == whole
    assert [kind for kind, _ in wire.records()] == [APPLICATION_DATA] * records


async def test_a_paused_protocol_gets_nothing_and_then_everything(
    line: tuple[Any, Wire], authority: Authority, certificate: Certificate
) -> None:
    layer, above, wire = await opened_client(line, authority, certificate)
    # It pauses in the middle of bytes that came in one piece.
    above.on_bytes = lambda chunk: layer.pause_reading()
    above._block = bytearray(10)
    wire.say(bytes(range(100)))
    await above.until_received(10)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(above.received) == 10
    above.on_bytes = lambda chunk: None
    layer.resume_reading()
    await above.until_received(100)
    assert bytes(above.received) == bytes(range(100))


async def test_a_broken_record_is_a_lost_connection(
    line: tuple[Any, Wire], authority: Authority, certificate: Certificate
) -> None:
    layer, above, wire = await opened_client(line, authority, certificate)
    wire.ssl_object.write(b"good")
    record = bytearray(wire.outgoing.read())
    record[-1] ^= 1
    wire.transport.write(bytes(record))
    await above.until_event("lost")
    assert above.received == b""
    assert isinstance(above.loss, OSError)
    assert layer.failure is above.loss


async def test_early_output_of_a_server_waits_for_the_handshake(
    line: tuple[Any, Wire], authority: Authority, certificate: Certificate
) -> None:
    transport, wire = line
    above = RecordingSession()
    layer = attach(transport, ServerEnd(certificate.tls()), above)
    layer.write(b"first ")
    layer.writelines([b"second ", b"third"])
    assert not layer.is_open
    assert above.events == ["made"]
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    context.set_alpn_protocols(["fastrpc/1"])
    wire.begin(context, server_hostname="localhost")
    await wire.until(lambda: wire.plain == b"first second third")
    # Nothing readable was on the line.
    assert b"second" not in wire.received


async def test_a_failed_handshake_reaches_whoever_waits(
    line: tuple[Any, Wire], certificate: Certificate, tmp_path: Path
) -> None:
    transport, wire = line
    wire.begin(server_context(certificate), server_side=True)
    strange = Authority(tmp_path)
    layer = attach(transport, ClientEnd(TLS(ca_file=strange.cert_file), "localhost"), None)
    async with asyncio.timeout(10):
        with pytest.raises(ConnectionError, match="its authority is not trusted"):
            await layer.opened()
        # And whoever asks later.
        with pytest.raises(ConnectionError, match="its authority is not trusted"):
            await layer.opened()
    assert layer.is_closing()
    layer.write(b"dropped")
    layer.close()
    layer.abort()
