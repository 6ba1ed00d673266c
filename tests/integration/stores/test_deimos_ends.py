"""The dialect of Deimos at the end of its store, and of the program that serves both."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Address
from fastrpc.coordination import StoreService
from fastrpc.stores.sqlite import SqliteJournal
from tests.support.certificates import Authority, shown_certificate
from tests.support.deimos_vectors import deimos_server, sent
from tests.support.http_talk import HttpClient
from tests.support.program import Program

pytestmark = pytest.mark.one_loop

HEAD = (
    b"PUT /keys/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 7\r\n\r\n"
)


@pytest.mark.parametrize("is_failure", [True, False], ids=["failed", "closed"])
async def test_watch_ends_with_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_failure: bool
) -> None:
    def commit(*_: Any) -> None:
        raise OSError("EIO")

    service = StoreService(tmp_path / "store" if is_failure else None)
    async with deimos_server(service) as server, await HttpClient.to(server.address) as client:
        client.send(sent({"request": "GET /keys/k?wait=true"}))
        await client.head()
        if is_failure:
            with monkeypatch.context() as patched:
                patched.setattr(SqliteJournal, "commit", commit)
                assert (await server.ask("PUT", "/keys/other", "value=1")).status == 500
        else:
            await service.__aexit__(None, None, None)
        assert await client.chunk() == b""
        refused = await server.ask("GET", "/keys/k?wait=true")
        assert (refused.status, refused.value["errorCode"]) == (500, 300)


async def test_write_that_has_begun_is_kept_when_the_program_ends(tmp_path: Path) -> None:
    program = Program(
        [
            "-m",
            "fastrpc",
            "store",
            "--address",
            "tcp://127.0.0.1:0",
            "--deimos",
            "http://127.0.0.1:0",
            "--json",
        ],
        tmp_path,
    )
    with program:
        port = Address.parse(json.loads(program.wait_output(r"^\{.*\}$")[0])["deimos"].replace("http", "tcp"))
        async with await HttpClient.to(port) as client, await HttpClient.to(port) as idle:
            client.send(HEAD)
            # The head has arrived before this request has.
            assert (await idle.get("/machines")).status == 200
            program.signal(signal.SIGTERM)
            # The port drains.
            assert await idle.is_closed()
            client.send(b"value=1")
            assert (await client.response()).status == 201
        assert program.wait().code == 0


async def test_port_reads_its_certificate_again(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first, second = authority.certificate(), authority.certificate()
    first.put(tmp_path)
    arguments = ["store", "--address", "tls://127.0.0.1:0", "--deimos", "https://127.0.0.1:0", "--json"]
    files = ["--tls-cert", "tls.crt", "--tls-key", "tls.key"]
    with Program(["-m", "fastrpc", *arguments, *files], tmp_path) as program:
        url = json.loads(program.wait_output(r"^\{.*\}$")[0])["deimos"]
        port = Address.parse(url.replace("https", "tls")).port
        assert await shown_certificate(port, authority, "http/1.1") == first.der()
        second.put(tmp_path)
        program.signal(signal.SIGHUP)
        program.wait_errors("(?s)(certificate files were read again.*){2}")
        assert await shown_certificate(port, authority, "http/1.1") == second.der()
