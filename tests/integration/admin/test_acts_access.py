"""Callers that may act on a server by its admin pages: nothing changes if a request is refused."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import ConfigError, Server, ServerConfig, watched_file
from fastrpc.cli.settings import read_settings
from tests.support.admin_pages import (
    OPERATOR,
    Answer,
    act,
    operators_file,
    page,
    port_of,
    server_with_pages,
    speak,
)

pytestmark = pytest.mark.one_loop

READER = "token-of-a-reader"
PAUSE = {"service": "", "serving": False, "was": True}
JSON = {"Content_Type": "application/json"}


@fastrpc.service("acted")
class Acted:
    @fastrpc.method
    async def same(self, number: int) -> int:
        return number


@pytest.fixture(params=["tcp://127.0.0.1:0", "tcp://0.0.0.0:0"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    operators = operators_file(tmp_path)
    async with server_with_pages(
        Acted(), address=request.param, admin_token=READER, admin_operators=operators
    ) as made:
        yield made


async def post(server: Server, name: str = "serving", body: bytes | None = None, **headers: str) -> Answer:
    given = json.dumps(PAUSE).encode() if body is None else body
    return await page(server, f"/act/{name}", "POST", body=given, **headers)


def is_serving(server: Server) -> bool:
    return server._health.is_serving("")


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        (f"Bearer {READER}", 403),
        # A browser sends a password by itself, also for pages of other sites.
        ("Basic YW55b25lOnRva2VuLW9mLWFuLW9wZXJhdG9y", 401),
        (OPERATOR, 401),
    ],
)
async def test_an_act_needs_the_token_of_an_operator(
    server: Server, given: str | None, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {} if given is None else {"Authorization": given}
    answer = await post(server, **headers, **JSON)
    assert answer.status == status
    assert is_serving(server)
    assert answer.headers.get_all("WWW-Authenticate") == (["Bearer"] if status == 401 else None)
    [record] = [one for one in caplog.records if one.name == "fastrpc.audit"]
    assert record.levelno == logging.WARNING
    assert "/act/serving" in record.getMessage()
    assert OPERATOR not in record.getMessage() + answer.text


async def test_two_tokens_in_one_request_are_refused(server: Server) -> None:
    body = json.dumps(PAUSE).encode()
    head = (
        b"POST /act/serving HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n" % len(body)
    )
    head += f"Authorization: Bearer {OPERATOR}\r\n".encode() * 2 + b"\r\n"
    answer = await asyncio.to_thread(speak, port_of(server), head + body)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert is_serving(server)


async def test_the_token_of_an_operator_reads_no_page(server: Server) -> None:
    for path in ("/", "/calls", "/figures", "/config"):
        assert (await page(server, path, Authorization=f"Bearer {OPERATOR}")).status == 401


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://localhost:{port}", 200),
        ("HTTP://LOCALHOST:{port}", 200),
        ("https://localhost:{port}", 403),
        ("http://localhost", 403),
        ("http://127.0.0.1:{port}", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
async def test_pages_of_other_origins_may_not_act(origin: str | None, status: int, tmp_path: Path) -> None:
    async with server_with_pages(Acted(), admin_operators=operators_file(tmp_path)) as server:
        port = port_of(server)
        headers = {"Host": f"localhost:{port}", "Authorization": f"Bearer {OPERATOR}"} | JSON
        if origin is not None:
            headers["Origin"] = origin.format(port=port)
        assert (await post(server, **headers)).status == status
        assert is_serving(server) == (status != 200)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1"])
async def test_on_loopback_acts_under_a_foreign_host_are_refused(host: str, tmp_path: Path) -> None:
    async with server_with_pages(Acted(), admin_operators=operators_file(tmp_path)) as server:
        headers = {"Host": host, "Authorization": f"Bearer {OPERATOR}"} | JSON
        assert (await post(server, **headers)).status == 421
        assert is_serving(server)


async def test_on_loopback_acts_need_an_operator_though_pages_need_no_token(tmp_path: Path) -> None:
    async with server_with_pages(Acted(), admin_operators=operators_file(tmp_path)) as server:
        assert (await page(server, "/calls")).status == 200
        assert (await post(server, **JSON)).status == 401
        assert is_serving(server)


async def test_beyond_loopback_operators_act_where_no_token_reads(tmp_path: Path) -> None:
    operators = operators_file(tmp_path)
    async with server_with_pages(Acted(), address="tcp://0.0.0.0:0", admin_operators=operators) as server:
        assert (await page(server, "/calls", Authorization=f"Bearer {OPERATOR}")).status == 403
        assert (await act(server, "serving", **PAUSE)).status == 200


@pytest.mark.parametrize("path", ["/act/serving", "/act/nothing", "/act/"])
async def test_without_operators_there_are_no_acts(path: str) -> None:
    async with server_with_pages(Acted(), admin_token=READER) as server:
        for given in (OPERATOR, READER):
            headers = {"Authorization": f"Bearer {given}"} | JSON
            assert (await page(server, path, "POST", body=b"{}", **headers)).status == 404
            # Nothing shows by its length that there could be one.
            assert (await page(server, path, "POST", body=b"x" * 5_000, **headers)).status == 404
        assert (await page(server, path, Authorization=f"Bearer {READER}")).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_acts_are_for_post(server: Server, method: str) -> None:
    answer = await page(server, "/act/serving", method, Authorization=f"Bearer {OPERATOR}")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert is_serving(server)


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
async def test_a_body_of_another_type_is_refused(server: Server, kind: str | None) -> None:
    headers = {"Authorization": f"Bearer {OPERATOR}"} | ({} if kind is None else {"Content_Type": kind})
    assert (await post(server, **headers)).status == 415
    assert is_serving(server)


async def test_the_type_of_a_body_may_have_parameters(server: Server) -> None:
    headers = {"Authorization": f"Bearer {OPERATOR}", "Content_Type": "Application/JSON; charset=utf-8"}
    assert (await post(server, **headers)).status == 200


async def test_a_body_of_another_act_names_the_mistake(server: Server) -> None:
    headers = {"Authorization": f"Bearer {OPERATOR}"} | JSON
    answer = await post(server, body=b'{"service": "", "serving": 0, "a": 1}', **headers)
    assert (answer.status, answer.json) == (
        400,
        {"error": "unknown: a; missing: was; serving must be true or false"},
    )
    assert is_serving(server)


async def test_a_body_that_is_too_long_is_refused(server: Server) -> None:
    body = json.dumps(PAUSE).encode()
    headers = {"Authorization": f"Bearer {OPERATOR}"} | JSON
    assert (await post(server, body=body.ljust(4_001), **headers)).status == 413
    assert (await post(server, body=b"x" * 5_000, **JSON)).status == 401
    assert is_serving(server)
    assert (await post(server, body=body.ljust(4_000), **headers)).status == 200


async def test_an_unknown_act_is_refused_with_the_known_ones(server: Server) -> None:
    answer = await act(server, "reboot")
    assert answer.status == 404
    assert "serving" in answer.json["error"]


async def test_no_page_may_be_framed(server: Server) -> None:
    for answer in (
        await page(server, "/calls", Authorization=f"Bearer {READER}", Accept="text/html"),
        await page(server, "/calls"),
        await act(server, "serving", **PAUSE),
    ):
        assert answer.headers["X-Frame-Options"] == "DENY"
    html = await page(server, "/", Authorization=f"Bearer {READER}", Accept="text/html")
    assert "frame-ancestors 'none'" in html.headers["Content-Security-Policy"]


async def test_a_removed_operator_may_not_act_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_file, "LOOK_SECONDS", 0.0)
    file = operators_file(tmp_path)
    async with server_with_pages(Acted(), admin_operators=file) as server:
        assert (await act(server, "serving", **PAUSE)).status == 200
        file.write_text(file.read_text().replace(OPERATOR, "token-of-another"))
        again = {"service": "", "serving": True, "was": False}
        assert (await act(server, "serving", **again)).status == 401
        assert not is_serving(server)
        assert (await act(server, "serving", "token-of-another", **again)).status == 200


async def test_a_flood_of_refused_acts_has_few_records(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(30):
        await post(server, Authorization="Bearer wrong", **JSON)
    records = [one for one in caplog.records if "/act/serving" in one.getMessage()]
    # Ten in each second that it took.
    seconds = {int(one.created) for one in records}
    assert len(records) <= 10 * (len(seconds) + 1)


async def test_a_file_of_operators_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, reason in (("missing", "No such file"), ("empty", "no list of tokens")):
        config = ServerConfig(admin_address="tcp://127.0.0.1:0", admin_operators=tmp_path / name)
        with pytest.raises(ConfigError, match=reason):
            await Server(Acted(), config=config).start()


def test_operators_need_pages() -> None:
    with pytest.raises(ConfigError, match="admin_operators is set, but admin_address is None"):
        Server(Acted(), config=ServerConfig(admin_operators="operators.toml"))


@pytest.mark.parametrize("given", ["", 5, b"bytes"])
def test_operators_are_a_path(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"ServerConfig\.admin_operators is .*, it must be a.* path"):
        ServerConfig(admin_address="tcp://127.0.0.1:0", admin_operators=given)


def test_operators_can_be_given_in_a_file_of_settings(tmp_path: Path) -> None:
    file = tmp_path / "fastrpc.toml"
    file.write_text('admin_address = "tcp://127.0.0.1:9"\nadmin_operators = "operators.toml"\n')
    read, _ = read_settings({}, {}, file)
    assert read.config.admin_operators == "operators.toml"
    read, _ = read_settings({}, {"FASTRPC_ADMIN_OPERATORS": "/run/operators"}, file)
    assert read.config.admin_operators == "/run/operators"


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:0", "tcp://127.0.0.1:0"])
async def test_tokens_of_operators_in_the_clear_are_warned_of(
    address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with server_with_pages(Acted(), address=address, admin_operators=operators_file(tmp_path)):
        assert ("tokens of operators are sent in plain text" in caplog.text) == ("0.0.0.0" in address)
