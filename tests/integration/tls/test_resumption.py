"""Clients that offer a session: they connect, and their certificate is checked again."""

import asyncio
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fastrpc import TLS, Client, ClientConfig, Server, ServerConfig
from fastrpc.config import HTTP
from fastrpc.tls.contexts import client_context
from fastrpc.tls.ends import ServerEnd
from tests.support.arith import Arith
from tests.support.certificates import Authority, Certificate
from tests.support.peer_writing import write_to
from tests.support.program import Program, command_line
from tests.support.session_client import QUESTIONS, SessionClient, in_records
from tests.support.successors import Successors, started
from tests.support.waiting import eventually

SERVED = """
import fastrpc


@fastrpc.service("served")
class Served:
    @fastrpc.method
    async def echo(self, data: bytes) -> bytes:
        return data
"""

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture
def mine(tmp_path: Path) -> Authority:
    """An authority of one test, which revokes certificates of its own."""
    return Authority(tmp_path, "mine")


def demanding(certificate: Certificate, authority: Authority, **settings: object) -> ServerConfig:
    return ServerConfig(
        tls=certificate.tls(authority, require_client_cert=True, **settings),
        protocols=("native", "http", "rpcx", "grpc"),
        http=HTTP(),
    )


def _stamp(instant: datetime) -> str:
    return instant.strftime("%Y%m%d%H%M%SZ")


async def connected_before_the_end(
    port: int, authority: Authority, version: ssl.TLSVersion
) -> tuple[SessionClient, datetime]:
    """Return a client that was served with a certificate of few seconds, and their end."""
    for seconds in (3, 6, 12, 24):
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        period = (_stamp(end - timedelta(days=1)), _stamp(end))
        certificate = authority.certificate(purpose="clientAuth", period=period)
        client = SessionClient(authority, certificate, version=version)
        if await asyncio.to_thread(client.is_served, port):
            return client, end
    raise AssertionError("the machine stalled for long")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_certificate_that_expired_meanwhile_is_refused(
    authority: Authority, server_certificate: Certificate, version: str
) -> None:
    async with Server(Arith, config=demanding(server_certificate, authority)) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        client, end = await connected_before_the_end(port, authority, VERSIONS[version])
        await eventually(lambda: time.time() > end.timestamp() + 1)
        assert not await asyncio.to_thread(client.is_served, port)


@pytest.mark.parametrize("cause", ["authority removed", "revoked"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_certificate_that_a_reload_refuses_is_refused(
    mine: Authority, stranger: Authority, tmp_path: Path, version: str, cause: str
) -> None:
    accepted, revoked = tmp_path / "authorities.pem", tmp_path / "revoked.pem"
    accepted.write_text(mine.cert_file.read_text() + stranger.cert_file.read_text())
    shutil.copy(mine.revocations(), revoked)
    revoked.write_text(revoked.read_text() + stranger.revocations().read_text())
    theirs = (stranger if cause == "authority removed" else mine).certificate(purpose="clientAuth")
    client = SessionClient(mine, theirs, version=VERSIONS[version])
    config = demanding(mine.certificate(), mine)
    tls = TLS(**{**_fields(config.tls), "ca_file": accepted, "crl_file": revoked})
    async with Server(Arith, config=ServerConfig(tls=tls)) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        assert await asyncio.to_thread(client.is_served, port)
        if cause == "revoked":
            revoked.write_text(mine.revocations(theirs).read_text() + stranger.revocations().read_text())
        else:
            accepted.write_text(mine.cert_file.read_text())
        server.reload()
        assert not await asyncio.to_thread(client.is_served, port)
        good = SessionClient(mine, mine.certificate(purpose="clientAuth"), version=VERSIONS[version])
        assert await asyncio.to_thread(good.is_served, port)
        assert await asyncio.to_thread(good.is_served, port)


def _fields(tls: TLS | None) -> dict[str, object]:
    assert tls is not None
    return {name: getattr(tls, name) for name in ("cert_file", "key_file", "require_client_cert")}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("protocol", QUESTIONS)
async def test_a_client_with_its_last_session_connects_again(
    authority: Authority,
    server_certificate: Certificate,
    client_certificate: Certificate,
    protocol: str,
    version: str,
) -> None:
    client = SessionClient(authority, client_certificate, version=VERSIONS[version], protocol=protocol)
    async with Server(Arith, config=demanding(server_certificate, authority)) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        for _ in range(4):
            assert await asyncio.to_thread(client.is_served, port)
            assert client.has_resumed is False
        first = client.session
        for _ in range(3):
            # A client that keeps its first session for ever.
            client.session = first
            assert await asyncio.to_thread(client.is_served, port)
            assert client.has_resumed is False
        server.reload()
        assert await asyncio.to_thread(client.is_served, port)


@pytest.mark.one_loop
async def test_two_clients_offer_the_session_of_one(
    authority: Authority, server_certificate: Certificate, client_certificate: Certificate
) -> None:
    one, other = (SessionClient(authority, client_certificate) for _ in range(2))
    async with Server(Arith, config=demanding(server_certificate, authority)) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        for _ in range(3):
            assert await asyncio.to_thread(one.is_served, port)
            other.context, other.session = one.context, one.session
            served = await asyncio.gather(*(asyncio.to_thread(each.is_served, port) for each in (one, other)))
            assert served == [True, True]
            assert (one.has_resumed, other.has_resumed) == (False, False)


@pytest.mark.one_loop
async def test_without_authorities_a_session_is_resumed(
    authority: Authority, server_certificate: Certificate
) -> None:
    client = SessionClient(authority)
    async with Server(Arith, config=ServerConfig(tls=server_certificate.tls())) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        assert await asyncio.to_thread(client.is_served, port)
        assert await asyncio.to_thread(client.is_served, port)
        assert client.has_resumed is True


@pytest.mark.parametrize("how", ["byte by byte", "in records of one byte", "in records of 40 bytes"])
async def test_a_hello_in_pieces_offers_its_session_too(
    authority: Authority, server_certificate: Certificate, client_certificate: Certificate, how: str
) -> None:
    client = SessionClient(authority, client_certificate)
    async with Server(Arith, config=demanding(server_certificate, authority)) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        assert await asyncio.to_thread(client.is_served, port)
        assert client.session is not None
        hello = client.hello()
        if how != "byte by byte":
            hello = in_records(hello, 1 if "one" in how else 40)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for place in range(len(hello)):
            write_to(writer, hello[place : place + 1])
            await writer.drain()
        async with asyncio.timeout(20):
            answer = await reader.readexactly(44 + 32)
        # A ServerHello with another session id than the client's.
        assert answer[0] == 22
        assert answer[44:76] != client.session.id
        writer.transport.abort()


JUNK = {
    "nothing": b"",
    "one byte": b"\x16",
    "half a header": b"\x16\x03\x01",
    "an empty record": b"\x16\x03\x01\x00\x00",
    "no ClientHello": b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
    "a session of 33 bytes": b"\x16\x03\x01\x00\x50\x01\x00\x00\x4c\x03\x03"
    + bytes(32)
    + b"\x21"
    + bytes(41),
    "a length of all ones": b"\x16\x03\x01\xff\xff" + b"\x01" * 600,
    "empty records": b"\x16\x03\x01\x00\x00" * 300,
    "plain text": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("junk", JUNK)
async def test_junk_ends_as_without_authorities(
    authority: Authority, server_certificate: Certificate, client_certificate: Certificate, junk: str
) -> None:
    answers = []
    for authorities in (None, authority):
        config = ServerConfig(tls=server_certificate.tls(authorities))
        async with Server(Arith, config=config) as server:
            port = (await server.listen("tls://127.0.0.1:0")).port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            write_to(writer, JUNK[junk])
            writer.write_eof()
            async with asyncio.timeout(20):
                answers.append(await reader.read())
            writer.close()
            client = SessionClient(authority, client_certificate)
            assert await asyncio.to_thread(client.is_served, port)
            assert await asyncio.to_thread(client.is_served, port)
    assert answers[0] == answers[1]


# Every server of ours


def reconnected(port: int, authority: Authority, certificate: Certificate, name: str = "fastrpc/1") -> str:
    """Let `openssl` connect, and reconnect five times with its last session; return its reports on each connection."""
    done = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2", "-reconnect", "-alpn", name),
            *("-CAfile", str(authority.cert_file), "-cert", str(certificate.cert_file)),
            *("-key", str(certificate.key_file)),
        ],
        input="Q\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return " ".join(re.findall(r"^(New|Reused), TLSv1.2", done.stdout, re.MULTILINE))


@pytest.mark.one_loop
async def test_openssl_reconnects_at_a_server_and_its_admin_pages(
    authority: Authority, server_certificate: Certificate, client_certificate: Certificate
) -> None:
    config = ServerConfig(
        tls=server_certificate.tls(authority, require_client_cert=True), admin_address="tls://127.0.0.1:0"
    )
    async with Server(Arith, config=config) as server:
        assert server.admin.address is not None
        for port, name in (
            ((await server.listen("tls://127.0.0.1:0")).port, "fastrpc/1"),
            (server.admin.address.port, "http/1.1"),
        ):
            told = await asyncio.to_thread(reconnected, port, authority, client_certificate, name)
            assert told == " ".join(["New"] * 6)


@pytest.mark.one_loop
async def test_openssl_reconnects_at_workers_and_the_program_that_takes_over(
    authority: Authority, server_certificate: Certificate, client_certificate: Certificate, tmp_path: Path
) -> None:
    files = ["--tls-cert", str(server_certificate.cert_file), "--tls-key", str(server_certificate.key_file)]
    files += ["--tls-ca", str(authority.cert_file)]
    programs = Successors(tmp_path, ["-a", "tls://127.0.0.1:0", "-w", "1", *files])

    async def check(program: Program) -> None:
        port = int((await asyncio.to_thread(started, program))["addresses"][0].rpartition(":")[2])
        told = await asyncio.to_thread(reconnected, port, authority, client_certificate)
        assert told == " ".join(["New"] * 6)

    with programs.program() as old:
        await check(old)
        with programs.program("--takeover") as new:
            await check(new)


@pytest.mark.one_loop
async def test_openssl_reconnects_at_a_registry(
    authority: Authority, server_certificate: Certificate, client_certificate: Certificate, tmp_path: Path
) -> None:
    files = ["--tls-cert", str(server_certificate.cert_file), "--tls-key", str(server_certificate.key_file)]
    arguments = ["registry", "-a", "tls://127.0.0.1:0", *files, "--tls-ca", str(authority.cert_file)]
    with command_line(arguments, tmp_path) as program:
        port = int((await asyncio.to_thread(program.wait_output, r"registry://127\.0\.0\.1:(\d+)"))[1])
        told = await asyncio.to_thread(reconnected, port, authority, client_certificate)
        assert told == " ".join(["New"] * 6)


# Its cost

HELLOS = 1_000
CALLS_PER_SECOND = 500


def flood(port: int, hello: bytes) -> None:
    """Make connections that say no more than a ClientHello, each after the answer to the one before."""
    for _ in range(HELLOS):
        with socket.create_connection(("127.0.0.1", port), 20) as connected:
            connected.sendall(hello)
            assert connected.recv(1) == b"\x16"


@pytest.mark.measures
@pytest.mark.one_loop
async def test_a_thousand_hellos_with_a_session_leave_a_good_client_its_rate(
    authority: Authority, server_certificate: Certificate, client_certificate: Certificate, tmp_path: Path
) -> None:
    (tmp_path / "served.py").write_text(SERVED)
    files = ["--tls-cert", str(server_certificate.cert_file), "--tls-key", str(server_certificate.key_file)]
    arguments = [
        "run",
        "served:Served",
        "-a",
        "tls://127.0.0.1:0",
        *files,
        "--tls-ca",
        str(authority.cert_file),
    ]
    client = SessionClient(authority, client_certificate)
    with command_line(arguments, tmp_path) as program:
        port = int((await asyncio.to_thread(program.wait_output, r"tls://127\.0\.0\.1:(\d+)"))[1])
        assert await asyncio.to_thread(client.is_served, port)
        config = ClientConfig(tls=client_certificate.tls(authority))
        async with Client(f"tls://127.0.0.1:{port}", config=config) as caller:
            assert await caller.call("served.echo", b"x") == b"x"
            flooding = asyncio.ensure_future(asyncio.to_thread(flood, port, client.hello()))
            began = time.monotonic()
            calls = []
            while not flooding.done():
                calls.append(asyncio.ensure_future(caller.call("served.echo", b"x")))
                await asyncio.sleep(max(0.0, began + len(calls) / CALLS_PER_SECOND - time.monotonic()))
            seconds = time.monotonic() - began
            done = sum(each.done() for each in calls)
            await flooding
            assert set(await asyncio.gather(*calls)) == {b"x"}
    print(f"{done / seconds:.0f} calls/s beside {HELLOS / seconds:.0f} hellos/s")
    assert done / seconds >= 0.9 * CALLS_PER_SECOND


@pytest.mark.measures
@pytest.mark.one_loop
def test_a_hello_with_a_session_costs_as_much_as_one_without(
    authority: Authority, server_certificate: Certificate, client_certificate: Certificate
) -> None:
    dialling = client_context(client_certificate.tls(authority))
    dialling.maximum_version = ssl.TLSVersion.TLSv1_2
    end = ServerEnd(server_certificate.tls(authority, require_client_cert=True))
    session: ssl.SSLSession | None = None
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(200):
        offers = turn % 2 == 1
        client_in, server_in, server_out = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
        client = dialling.wrap_bio(
            client_in, server_in, server_hostname="localhost", session=session if offers else None
        )
        hello = _step(client, server_in)
        began = time.perf_counter()
        first = end.wrap(server_in, server_out)
        server = end.answer(hello, server_in, server_out)
        assert server is not None
        assert first is not server
        server_in.write(hello)
        client_in.write(_step(server, server_out))
        seconds[offers].append(time.perf_counter() - began)
        server_in.write(_step(client, server_in))
        client_in.write(_step(server, server_out))
        _step(client, server_in)
        end.check(server)
        session = client.session
    without, offered = (statistics.median(seconds[offers]) for offers in (False, True))
    print(f"a hello without a session {without * 1e3:.2f} ms, with one {offered * 1e3:.2f} ms")
    assert offered <= without * 1.25 + 0.000_1


def _step(end: ssl.SSLObject, outgoing: ssl.MemoryBIO) -> bytes:
    with suppress(ssl.SSLWantReadError):
        end.do_handshake()
    return outgoing.read()
