"""Bytes that are not TLS, or not the protocol, at `tls://`; and TLS at `tcp://`: one line in the log, no call runs."""

import asyncio
import logging
import socket
import ssl

import pytest

import fastrpc
from fastrpc import Server, ServerConfig
from tests.support.certificates import Authority, Certificate
from tests.support.frame_factory import opening, request
from tests.support.peer_writing import write_to
from tests.support.toy_protocol import toy_link
from tests.support.waiting import eventually

assert toy_link is not None  # Its import registers the protocol "toy".

ALERT = 0x15


@fastrpc.service("kept")
class Kept:
    def __init__(self) -> None:
        self.calls = 0

    @fastrpc.method
    async def enter(self) -> None:
        self.calls += 1


#: A whole opening and a call after it: a server that parsed one byte of it would run the call.
CALL = opening(False) + request(1, b"\x90", method=b"kept.enter", codec=1)

PLAIN = {
    "a native client": CALL,
    "HTTP": b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    "an HTTP proxy's client": b"CONNECT here:443 HTTP/1.1\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "rpcx": b"\x08\x00\x00\x00" + bytes(60),
    "zeros": bytes(100),
    "one byte": b"x",
    "text": b"hello\r\n",
    "a record of no known type": b"\x63\x03\x03\x00\x05hello",
    "an alert first": b"\x15\x03\x03\x00\x02\x02\x28",
    "data first": b"\x17\x03\x03\x00\x20" + bytes(32),
    "a ClientHello of garbage": b"\x16\x03\x01\x00\x20" + bytes(range(32)),
    "a record that is too long": b"\x16\x03\x01\xff\xff" + bytes(70_000),
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80" + bytes(34),
    "SSL 3": b"\x16\x03\x00\x00\x2d\x01\x00\x00\x29\x03\x00" + bytes(38),
}


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("fastrpc") and getattr(record, "event", "") in {"tls_refused", "strangers"}
    ]


def answer_to(port: int, sent: bytes) -> bytes:
    """Return all that the server says to these bytes, until it closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65_536):
                received += chunk
        except OSError:
            # The server was faster.
            pass
    return received


@pytest.mark.parametrize("protocols", [("native",), ("native", "toy")], ids=["native", "several"])
@pytest.mark.parametrize("name", PLAIN)
async def test_bytes_that_are_not_tls_are_one_line_and_no_call(
    server_certificate: Certificate, name: str, protocols: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept = Kept()
    config = ServerConfig(tls=server_certificate.tls(), protocols=protocols)
    async with Server(kept, config=config) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        answer = await asyncio.to_thread(answer_to, port, PLAIN[name])
        await eventually(lambda: lines(caplog))
        await eventually(lambda: server.stats()["live"]["connections"] == 0)
        assert server.stats()["totals"]["refused"] == 0
    # An alert or nothing: no frame, no text of another protocol.
    assert answer == b"" or answer[0] == ALERT
    assert len(answer) <= 7
    (line,) = lines(caplog)
    assert line.startswith("refused tls://127.0.0.1:")
    assert "\n" not in line
    assert kept.calls == 0


@pytest.mark.parametrize(
    "alpn", [[], ["http/1.1"], ["h2"], ["fastrpc/2"], ["FASTRPC/1"], ["fastrpc/1 "], ["x" * 255]]
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_whole_call_after_a_handshake_without_the_protocol_does_not_run(
    authority: Authority,
    server_certificate: Certificate,
    alpn: list[str],
    version: ssl.TLSVersion,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    kept = Kept()
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(alpn)

    def talk(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            try:
                with context.wrap_socket(connection, server_hostname="localhost") as wrapped:
                    assert wrapped.version() == version.name.replace("_", ".")
                    wrapped.sendall(CALL)
                    return wrapped.recv(65_536)
            except (ssl.SSLError, ConnectionError):
                return b""

    async with Server(kept, config=ServerConfig(tls=server_certificate.tls())) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        assert await asyncio.to_thread(talk, port) == b""
        await eventually(lambda: lines(caplog))
        await eventually(lambda: server.stats()["live"]["connections"] == 0)
    (line,) = lines(caplog)
    assert "did not name the protocol fastrpc/1 (ALPN)" in line
    assert kept.calls == 0


async def test_the_call_runs_where_the_protocol_is_named(
    authority: Authority, server_certificate: Certificate
) -> None:
    # The result of the test above if the bytes were parsed.
    kept = Kept()
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    context.set_alpn_protocols(["http/1.1", "fastrpc/1"])
    async with Server(kept, config=ServerConfig(tls=server_certificate.tls())) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        write_to(writer, CALL)
        await eventually(lambda: kept.calls == 1)
        writer.transport.abort()


def client_hello() -> bytes:
    """Return the first bytes of a client that speaks TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    wrapped = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        wrapped.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("size", [3, 6, 100, 10_000])
@pytest.mark.parametrize("protocols", [("native",), ("native", "toy")], ids=["native", "several"])
async def test_tls_at_a_plain_address_is_one_line_and_no_call(
    protocols: tuple[str, ...], size: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept = Kept()
    async with Server(kept, config=ServerConfig(protocols=protocols)) as server:
        port = (await server.listen("tcp://127.0.0.1:0")).port
        await asyncio.to_thread(answer_to, port, client_hello()[:size])
        await eventually(lambda: lines(caplog))
        await eventually(lambda: server.stats()["live"]["connections"] == 0)
    (line,) = lines(caplog)
    assert "TLS" in line or protocols != ("native",)
    assert kept.calls == 0
