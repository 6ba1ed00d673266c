"""Certificates that are read again: by `Server.reload` at once, in a roll by the new workers."""

import asyncio
import logging
import shutil
import signal
import socket
from pathlib import Path

import pytest

from fastrpc import TLS, Client, ClientConfig, Server, ServerConfig
from fastrpc.endpoint import Address
from fastrpc.tls import ALPN
from fastrpc.tls.contexts import client_contexts
from tests.support.arith import Arith
from tests.support.certificates import Authority, shown_certificate
from tests.support.program import command_line

pytestmark = pytest.mark.one_loop

SERVED = """
import fastrpc


@fastrpc.service("served")
class Served:
    @fastrpc.method
    async def one(self) -> int:
        return 1
"""


async def hand_over(accepting: socket.socket, server: Server, address: Address) -> None:
    """Accept for a server, as a supervisor does for its workers."""
    while True:
        connection, _ = await asyncio.get_running_loop().sock_accept(accepting)
        await server.take(connection, address)


async def test_reload_takes_new_certificates_wherever_the_server_presents_them(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = authority.certificate(), authority.certificate()
    first.put(tmp_path)
    tls = TLS(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    config = ServerConfig(tls=tls, admin_address="tls://127.0.0.1:0")
    with socket.create_server(("127.0.0.1", 0)) as accepting:
        accepting.setblocking(False)
        port = accepting.getsockname()[1]
        async with Server(Arith, config=config) as server:
            handing = asyncio.ensure_future(
                hand_over(accepting, server, Address.parse(f"tls://127.0.0.1:{port}"))
            )
            assert server.admin.address is not None
            places = {
                (await server.listen("tls://127.0.0.1:0")).port: "fastrpc/1",
                port: "fastrpc/1",
                server.admin.address.port: "http/1.1",
            }
            for place, protocol in places.items():
                assert await shown_certificate(place, authority, protocol) == first.der()
            second.put(tmp_path)
            with caplog.at_level(logging.INFO, "fastrpc.audit"):
                server.reload()
            for place, protocol in places.items():
                assert await shown_certificate(place, authority, protocol) == second.der()
            assert caplog.text.count("certificate files were read again") == len(places)
            shutil.copy(first.key_file, tmp_path / "tls.key")
            server.reload()
            assert "it is not the key of" in caplog.text
            for place, protocol in places.items():
                assert await shown_certificate(place, authority, protocol) == second.der()
            handing.cancel()


@pytest.mark.parametrize(
    "period", [("20200101000000Z", "20210101000000Z"), ("20600101000000Z", "20610101000000Z")]
)
async def test_a_certificate_outside_of_its_validity_replaces_no_valid_one(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture, period: tuple[str, str]
) -> None:
    valid, outdated = authority.certificate(), authority.certificate(period=period)
    valid.put(tmp_path)
    tls = TLS(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    config = ServerConfig(tls=tls, admin_address="tls://127.0.0.1:0", protocols=("native", "http"))
    async with Server(Arith, config=config) as server:
        assert server.admin.address is not None
        port = (await server.listen("tls://127.0.0.1:0")).port
        outdated.put(tmp_path)
        server.reload()
        for place, protocol in (
            (port, "fastrpc/1"),
            (port, "http/1.1"),
            (server.admin.address.port, "http/1.1"),
        ):
            assert await shown_certificate(place, authority, protocol) == valid.der()
        told = "it has expired" if period[0] < "2026" else "it is not valid yet"
        audit = [one for one in caplog.records if one.name == "fastrpc.audit"]
        warnings = [one for one in audit if one.levelno == logging.WARNING]
        assert len(warnings) == 2
        assert all(told in one.getMessage() for one in warnings)
        async with Client(
            f"tls://127.0.0.1:{port}", config=ClientConfig(tls=TLS(ca_file=authority.cert_file))
        ) as client:
            assert await client.call(Arith.mul, 6, 7) == 42


async def test_a_client_keeps_its_valid_certificate_too(authority: Authority, tmp_path: Path) -> None:
    valid, outdated = (
        authority.certificate(period=period) for period in (None, ("20200101000000Z", "20210101000000Z"))
    )
    valid.put(tmp_path)
    mine = TLS(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key", ca_file=authority.cert_file)
    config = ServerConfig(tls=authority.certificate().tls(authority, require_client_cert=True))
    async with Server(Arith, config=config) as server:
        target = str(await server.listen("tls://127.0.0.1:0"))
        for replaced in (False, True):
            if replaced:
                outdated.put(tmp_path)
                client_contexts(mine, ALPN).reload()
            async with Client(target, config=ClientConfig(tls=mine)) as client:
                assert await client.call(Arith.mul, 6, 7) == 42


async def test_a_roll_with_files_that_do_not_fit_leaves_the_old_workers(
    authority: Authority, tmp_path: Path
) -> None:
    first, second = authority.certificate(), authority.certificate()
    outdated = authority.certificate(period=("20200101000000Z", "20210101000000Z"))
    first.put(tmp_path)
    files = ["--tls-cert", "tls.crt", "--tls-key", "tls.key"]
    (tmp_path / "served.py").write_text(SERVED)
    arguments = ["run", "served:Served", "-w", "2", "-a", "tls://127.0.0.1:0", *files]
    with command_line(arguments, tmp_path) as program:
        port = int(program.wait_output(r"serving at tls://127\.0\.0\.1:(\d+)")[1])
        shutil.copy(second.key_file, tmp_path / "tls.key")
        program.signal(signal.SIGHUP)
        await asyncio.to_thread(
            program.wait_errors, "cannot start, the old workers stay: .*it is not the key of"
        )
        assert await shown_certificate(port, authority) == first.der()
        outdated.put(tmp_path)
        program.signal(signal.SIGHUP)
        await asyncio.to_thread(program.wait_errors, "cannot start, the old workers stay: .*it has expired")
        assert await shown_certificate(port, authority) == first.der()
        second.put(tmp_path)
        program.signal(signal.SIGHUP)
        await asyncio.to_thread(program.wait_errors, "new workers serve, the old ones drain")
        assert await shown_certificate(port, authority) == second.der()
