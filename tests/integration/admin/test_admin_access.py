"""Callers that may read the admin pages, and secrets that the pages never show."""

import asyncio
import base64
import contextlib
import logging
import os
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import ConfigError, Server, ServerConfig, watched_file
from fastrpc._core.exchange.request_head import RequestLimits
from fastrpc.cli.settings import read_settings
from fastrpc.config import TLS
from fastrpc.server.admin import connection
from tests.support.admin_pages import fetch, page, server_with_pages, speak
from tests.support.certificates import Authority
from tests.support.peer_writing import write_to

pytestmark = pytest.mark.one_loop

PAGES = ("/", "/metrics", "/calls", "/connections", "/services", "/config", "/store", "/nothing")
PROBES = ("/livez", "/readyz")
EVERYWHERE = "tcp://0.0.0.0:0"


@fastrpc.service("guarded")
class Guarded:
    @fastrpc.method
    async def same(self, number: int) -> int:
        return number


def basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{token}".encode("latin-1")).decode()


@pytest.mark.parametrize("path", PAGES)
async def test_beyond_loopback_there_are_only_probes_without_a_token(path: str) -> None:
    async with server_with_pages(Guarded(), address=EVERYWHERE) as server:
        answer = await page(server, path, Authorization="Bearer guess")
        assert answer.status == 403
        assert answer.text == "beyond loopback the pages need a token: set ServerConfig.admin_token\n"
        for probe in PROBES:
            assert (await page(server, probe, Host="somewhere.example")).status == 200


@pytest.mark.parametrize("address", [EVERYWHERE, "tcp://127.0.0.1:0"])
@pytest.mark.parametrize("path", PAGES)
async def test_a_page_takes_the_token(address: str, path: str) -> None:
    async with server_with_pages(Guarded(), address=address, admin_token="s3cret") as server:
        status = 404 if path == "/nothing" else 200
        for given in ("Bearer s3cret", "bearer s3cret", basic("s3cret")):
            assert (await page(server, path, Authorization=given)).status == status
        wrong = [
            "Bearer s3cre",
            "Bearer s3crett",
            "Bearer",
            "s3cret",
            basic("other"),
            "Basic ?",
            "Bearer \xe9",
            "",
        ]
        for given in wrong:
            answer = await page(server, path, Authorization=given)
            assert answer.status == 401
            assert "Bearer" in answer.headers.get_all("WWW-Authenticate", [])
            assert "s3cret" not in answer.text
        assert (await page(server, path)).status == 401
        assert (await page(server, f"{path}?token=s3cret")).status == 401
        for probe in PROBES:
            assert (await page(server, probe)).status == 200


@pytest.mark.parametrize("behind", ["\xa0", "\x85", "\xa0 ", " \xa0", "\t\x85"])
async def test_only_space_and_tab_around_a_token_are_left_out(behind: str) -> None:
    async with server_with_pages(Guarded(), admin_token="s3cret") as server:
        for given in (f"Bearer s3cret{behind}", f"Bearer {behind}s3cret", basic(f"s3cret{behind}")):
            assert (await page(server, "/calls", Authorization=given)).status == 401
        encoded = basic("s3cret")
        assert (await page(server, "/calls", Authorization=f"{encoded}{behind}")).status == 401
        for given in ("Bearer s3cret \t", "Bearer  \ts3cret", basic("s3cret ")):
            assert (await page(server, "/calls", Authorization=given)).status == 200


async def test_a_token_file_keeps_white_space_except_line_ends(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\xa0\r\n")
    async with server_with_pages(Guarded(), admin_token=file) as server:
        assert (await page(server, "/calls", Authorization="Bearer s3cret")).status == 401


async def test_two_credentials_in_one_request_are_refused() -> None:
    async with server_with_pages(Guarded(), admin_token="s3cret") as server:
        assert server.admin.address is not None
        data = (
            b"GET /calls HTTP/1.0\r\nHost: localhost\r\n" + b"Authorization: Bearer s3cret\r\n" * 2 + b"\r\n"
        )
        answer = await asyncio.to_thread(speak, server.admin.address.port, data)
        assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.9.9.9:1", "[::1]:9090", "[::1]", "localhost:9090"]
)
async def test_on_loopback_this_machine_may_be_asked(host: str) -> None:
    async with server_with_pages(Guarded()) as server:
        for path in PAGES[:-1]:
            assert (await page(server, path, Host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "[2001:db8::1]",
        "0.0.0.0",
        "x",
    ],
)
async def test_on_loopback_a_foreign_host_is_refused(host: str) -> None:
    async with server_with_pages(Guarded()) as server:
        for path in PAGES:
            assert (await page(server, path, Host=host)).status == 421
        for probe in PROBES:
            assert (await page(server, probe, Host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "[::1",
        "[::1]evil.com",
        "localhost:evil.com",
        "[localhost]",
        "[127.0.0.1]",
        "localhost:99999",
        "[::1]:65536",
    ],
)
async def test_an_invalid_host_is_refused(host: str) -> None:
    async with server_with_pages(Guarded()) as server:
        assert (await page(server, "/calls", Host=host)).status in (400, 421)


@pytest.mark.parametrize(("address", "warns"), [("tcp://0.0.0.0:0", True), ("tcp://127.0.0.1:0", False)])
async def test_a_token_in_the_clear_is_warned_of(
    address: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with server_with_pages(Guarded(), address=address, admin_token="s3cret"):
        assert ("the admin token is sent in plain text" in caplog.text) == warns
        assert "s3cret" not in caplog.text


async def test_an_old_client_without_a_host_is_refused_on_loopback() -> None:
    async with server_with_pages(Guarded()) as server:
        assert server.admin.address is not None
        answer = await asyncio.to_thread(speak, server.admin.address.port, b"GET /calls HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize("is_text", [False, True])
async def test_a_token_file_is_read_again(
    is_text: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Each request looks, and takes a change at once.
    monkeypatch.setattr(watched_file, "LOOK_SECONDS", 0.0)
    file = tmp_path / "token"
    file.write_text("first\n")
    given: Any = f"file:{file}" if is_text else file
    async with server_with_pages(Guarded(), admin_token=given) as server:

        async def statuses() -> list[int]:
            return [
                (await page(server, "/calls", Authorization=f"Bearer {it}")).status
                for it in ("first", "second")
            ]

        assert await statuses() == [200, 401]
        file.write_text("second")
        assert await statuses() == [401, 200]
        # An unusable file keeps the token, and is reported once.
        with caplog.at_level(logging.WARNING, "fastrpc.audit"):
            file.unlink()
            assert await statuses() == [401, 200]
            file.write_text("")
            assert await statuses() == [401, 200]
        assert {record.name for record in caplog.records} == {"fastrpc.audit"}
        # No look is due for an hour: the server has to be notified.
        monkeypatch.setattr(watched_file, "LOOK_SECONDS", 3_600.0)
        assert (await page(server, "/calls", Authorization="Bearer second")).status == 200
        file.write_text("third")
        assert (await page(server, "/calls", Authorization="Bearer third")).status == 401
        server.reload()
        assert (await page(server, "/calls", Authorization="Bearer third")).status == 200
        assert "the admin token cannot be used, the old content stays" in caplog.text
        assert "second" not in caplog.text


async def test_a_token_file_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, reason in (("missing", "No such file"), ("empty", "it is empty")):
        config = ServerConfig(admin_address="tcp://127.0.0.1:0", admin_token=tmp_path / name)
        with pytest.raises(ConfigError, match=reason):
            await Server(Guarded(), config=config).start()


async def test_no_page_shows_a_secret(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.certificate()
    tls: TLS = certificate.tls(authority)
    async with server_with_pages(Guarded(), admin_token="pl4nted-secret", tls=tls) as server:
        shown = [
            (await page(server, path, Authorization="Bearer pl4nted-secret", Accept=accepted)).text
            for path in PAGES
            for accepted in ("application/json", "text/html")
        ]
        config = (await page(server, "/config", Authorization="Bearer pl4nted-secret")).json["config"]
    for text in shown:
        assert "pl4nted" not in text
        assert str(tmp_path) not in text
    assert config["admin_token"] == config["tls"]["key_file"] == config["tls"]["cert_file"] == "…"
    assert config["tls"]["key_password"] is None
    assert config["limits"]["concurrent_calls"] == 10_000
    assert "pl4nted" not in repr(ServerConfig(admin_address="tcp://127.0.0.1:0", admin_token="pl4nted"))


async def test_an_unknown_setting_is_masked() -> None:
    shown = ServerConfig.__dataclass_fields__.keys() - {"tls", "admin_token"}
    async with server_with_pages(Guarded()) as server:
        config = (await page(server, "/config")).json["config"]
    assert config.keys() == ServerConfig.__dataclass_fields__.keys()
    assert not [name for name in shown if config[name] == "…"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"admin_token": "x"}, "admin_token is set, but admin_address is None"),
        ({"ready_needs_registry": True}, "ready_needs_registry is set, but admin_address is None"),
        ({"admin_address": "tcp://127.0.0.1:0", "ready_needs_registry": True}, "the server has no registry"),
        ({"admin_address": "memory://admin"}, "must begin with tcp://, tls://, unix:// or fd://"),
        ({"admin_address": "tls://127.0.0.1:0"}, "but tls is None"),
        ({"admin_address": EVERYWHERE, "tls": TLS(cert_file="x")}, "is not encrypted, and tls is set"),
        ({"admin_address": "127.0.0.1:0"}, "is not an address"),
    ],
)
def test_invalid_settings_of_the_admin_pages_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Server(Guarded(), config=ServerConfig(**config))


@pytest.mark.parametrize("token", ["", "with space", "with\nline", "t\xf6ken", 5, b"bytes"])
def test_a_token_that_no_request_can_carry_is_refused(token: Any) -> None:
    with pytest.raises(ConfigError, match=r"ServerConfig\.admin_token is <") as caught:
        ServerConfig(admin_address="tcp://127.0.0.1:0", admin_token=token)
    assert not (isinstance(token, str) and token and token in str(caught.value))


def test_a_token_can_be_given_in_the_environment_and_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "fastrpc.toml"
    file.write_text('admin_address = "tcp://127.0.0.1:9"\nadmin_token = "s3cret"\n')
    read, _ = read_settings({}, {}, file)
    assert (read.config.admin_address, read.config.admin_token) == ("tcp://127.0.0.1:9", "s3cret")
    environment = {"FASTRPC_ADMIN_ADDRESS": "tcp://127.0.0.1:9", "FASTRPC_ADMIN_TOKEN": "file:/run/token"}
    read, _ = read_settings({}, environment, None)
    assert read.config.admin_token == "file:/run/token"
    read, _ = read_settings({}, {"FASTRPC_ADMIN_TOKEN": "none"}, file)
    assert read.config.admin_token is None


async def test_an_address_in_use_ends_the_start() -> None:
    async with server_with_pages(Guarded()) as server:
        config = ServerConfig(admin_address=str(server.admin.address))
        with pytest.raises(OSError, match=r"127\.0\.0\.1"):
            await Server(Guarded(), config=config).start()


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastrpc.server.admin.opening.MOST_CONNECTIONS", 3)
    monkeypatch.setattr(connection, "LIMITS", RequestLimits(header_seconds=60))
    async with server_with_pages(Guarded()) as server:
        assert server.admin.address is not None
        peers = [await asyncio.open_connection("127.0.0.1", server.admin.address.port) for _ in range(3)]
        for reader, writer in peers:
            write_to(writer, b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        # The one that rests for longest makes room: strangers cannot keep the probes out.
        assert (await asyncio.to_thread(fetch, server.admin.address.port, "/livez")).status == 200
        with pytest.raises((ConnectionError, EOFError)):
            while True:
                await peers[0][0].readexactly(1)
        for _, one in peers:
            one.close()


async def test_a_slow_head_and_an_idle_connection_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LIMITS", RequestLimits(header_seconds=0.1, idle_seconds=0.1))
    async with server_with_pages(Guarded()) as server:
        assert server.admin.address is not None
        port = server.admin.address.port
        assert (await until_heard(port, b"GET /livez HT")).startswith(b"HTTP/1.1 408 ")
        assert await asyncio.to_thread(speak, port, b"") == b""
        answer = await until_heard(port, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.count(b"HTTP/1.1 ") == 1


async def until_heard(port: int, data: bytes) -> bytes:
    """Return the answer; a stall ends connections before the server has their first byte, without one."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(ConnectionError):
                if answer := await asyncio.to_thread(speak, port, data):
                    return answer


async def test_strangers_on_the_admin_port_are_refused() -> None:
    async with server_with_pages(Guarded()) as server:
        assert server.admin.address is not None
        for data in (b"\x16\x03\x01\x02\x00", b"\xf5FRPC\x00", os.urandom(64).replace(b"\n", b"") + b"\n"):
            answer = await asyncio.to_thread(speak, server.admin.address.port, data)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
