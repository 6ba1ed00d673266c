"""The cases of uvicorn's own tests for HTTP, rewritten for mounted applications, by name.

They are in tests/protocols/test_http.py. `OURS` lists the cases that other tests of this folder cover. `LEFT_OUT` lists
the cases without a meaning here, with the reason.
"""

import asyncio
import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from fastrpc import HTTPLimits
from tests.support.http_talk import request, soon
from tests.support.mounted import Application, Sending, answering, mounted, part, start, whole_body

pytestmark = pytest.mark.one_loop

HELLO = answering(b"Hello, world", headers=[(b"content-type", b"text/plain")])
NOTHING = answering(b"", status=204)
GET = request("GET", "/")
JSON = b'{"hello": "world"}'
POST = request("POST", "/", JSON)
UPGRADE = {"Connection": "upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "11"}
OTHER_UPGRADE = UPGRADE | {"Upgrade": "not-websocket"}
LENGTH = {"content_length": "10"}
CHUNKED = answering(b"Hello, world!", headers=[(b"transfer-encoding", b"chunked")])


async def echo(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http", scope["type"]
    body = await whole_body(receive)
    await send(start())
    await send(part(b"Body: " + body))


async def raising(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("a mistake")


async def raising_in_its_body(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(part(b"1", more=True))
    raise ValueError("a mistake")


async def returning_a_value(scope: Any, receive: Any, send: Any) -> Any:
    await send(start())
    await send(part())
    return 123


async def telling_its_scope(scope: Any, receive: Any, send: Any) -> None:
    texts = [scope["http_version"], scope["root_path"], scope["path"], scope["raw_path"].decode()]
    await answering(" ".join([*texts, *sorted(scope["asgi"].values())]).encode())(scope, receive, send)


#: In place of a status: the connection ends without an answer, and within one.
UNANSWERED, CUT_OFF = 0, 1


class Case(NamedTuple):
    """A request, and the response to it."""

    application: Application
    sent: bytes = GET
    status: int = 200
    body: bytes | None = b"Hello, world"
    closes: bool = False
    prefix: str = "/"
    version: str = "1.1"


CASES = {
    "get_request": Case(HELLO),
    "head_request": Case(HELLO, request("HEAD", "/"), body=None),
    "post_request": Case(echo, POST, body=b"Body: " + JSON),
    "keepalive": Case(NOTHING, status=204, body=None),
    # The field `connection` of an application is not the server's.
    "close": Case(answering(b"", status=204, headers=[(b"connection", b"close")]), status=204, body=None),
    "chunked_encoding": Case(CHUNKED, body=b"Hello, world!"),
    "chunked_encoding_empty_body": Case(
        answering(b"", headers=[(b"transfer-encoding", b"chunked")]), body=b""
    ),
    "chunked_encoding_head_request": Case(CHUNKED, request("HEAD", "/"), body=None),
    # Nothing was sent before, so it can still be an error.
    "undersized_request": Case(Sending(start(**LENGTH), part(b"xxx")), status=500, body=None),
    "oversized_request": Case(Sending(start(**LENGTH), part(b"x" * 60)), status=500, body=None),
    "invalid_http": Case(HELLO, b"x" * 100_000, UNANSWERED),
    "invalid_http_request[invalid-method]": Case(HELLO, b"G?T / HTTP/1.1\r\n\r\n", UNANSWERED),
    "invalid_http_request[invalid-path]": Case(
        HELLO, b"GET /?x=y z HTTP/1.1\r\nHost: a\r\n\r\n", 400, None, closes=True
    ),
    "invalid_http_request[invalid-http-version]": Case(
        HELLO, b"GET / HTTP1.1\r\nHost: a\r\n\r\n", 400, None, closes=True
    ),
    "app_exception": Case(raising, status=500, body=None),
    "exception_during_response": Case(raising_in_its_body, status=CUT_OFF),
    "no_response_returned": Case(Sending(), status=500, body=None),
    "partial_response_returned": Case(Sending(start()), status=500, body=None),
    "response_header_splitting": Case(
        Sending(start(key="value\r\nCookie: smuggled=value"), part()), status=500, body=None
    ),
    "duplicate_start_message": Case(Sending(start(), start()), status=500, body=None),
    "missing_start_message": Case(Sending(part()), status=500, body=None),
    "message_after_body_complete": Case(Sending(start(), part(), part()), body=b""),
    "value_returned": Case(returning_a_value, body=b""),
    "http10_request": Case(
        telling_its_scope, request("GET", "/", version="1.0"), body=b"1.0  / / 2.5 3.0", closes=True
    ),
    "root_path": Case(
        telling_its_scope, request("GET", "/app/"), body=b"1.1 /app /app/ /app/ 2.5 3.0", prefix="/app"
    ),
    "raw_path": Case(
        telling_its_scope,
        request("GET", "/app/one%2Ftwo"),
        body=b"1.1 /app /app/one/two /app/one%2Ftwo 2.5 3.0",
        prefix="/app",
    ),
    "scopes": Case(telling_its_scope, body=b"1.1  / / 2.5 3.0"),
    "http2_upgrade_request": Case(
        HELLO,
        request("GET", "/", Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="AAMAAABk"),
    ),
    "supported_upgrade_request": Case(HELLO, request("GET", "/", **UPGRADE), 426, None),
    "header_upgrade_is_not_websocket_depend_installed": Case(HELLO, request("GET", "/", **OTHER_UPGRADE)),
    "return_close_header": Case(HELLO, request("GET", "/", Connection="close"), closes=True),
    "close_connection_with_multiple_requests": Case(
        HELLO, request("GET", "/", Connection="close") + GET, closes=True
    ),
    "close_connection_with_post_request": Case(
        echo, request("POST", "/", JSON, Connection="close"), body=b"Body: " + JSON, closes=True
    ),
    "iterator_headers": Case(answering(b"Hello, world", headers=iter([(b"x-test", b"a")]))),
}

#: The files of other tests of this folder.
_REQUESTS, _RESPONSES, _MOUNTS = "test_mounted_requests", "test_mounted_responses", "test_mounts"
_CONNECTIONS = "test_http_connections"

OURS = {
    "request_logging": (_MOUNTS, "access_log_has_the_request_and_interceptors_do_not_run"),
    "keepalive_timeout": (
        _CONNECTIONS,
        "a_body_that_comes_too_slowly_is_refused_and_an_idle_connection_closed",
    ),
    "keepalive_timeout_with_pipelined_requests": (
        _REQUESTS,
        "pipelined_requests_are_answered_in_order",
    ),
    "pipelined_requests": (_REQUESTS, "last_part_of_each_pipelined_response_returns"),
    "large_post_request": (_REQUESTS, "body_is_read_no_further_than_the_application_takes_it"),
    "early_response": (_REQUESTS, "response_to_an_unread_body_closes_the_connection"),
    "early_disconnect": (_REQUESTS, "client_that_leaves_is_told_by_receive_and_by_send"),
    "max_concurrency": (_MOUNTS, "limit_of_requests_in_progress_counts_until_the_application_returns"),
    "shutdown_during_request": (_MOUNTS, "drain_waits_for_requests"),
    "shutdown_during_idle": (_CONNECTIONS, "a_drain_answers_the_last_request_and_closes"),
    "100_continue_sent_when_body_consumed": (_REQUESTS, "client_that_expects_100_continue_gets_it"),
    "huge_headers_h11protocol_failure_with_setting": (_CONNECTIONS, "fields_are_bounded"),
    "lifespan_state": (_MOUNTS, "each_request_has_a_copy_of_the_state"),
}

HERE = {"header_value_allowed_characters", "read_after_response", "fragmentation"}
HERE |= {"huge_headers_h11protocol_failure", "huge_headers_httptools", "huge_headers_h11_max_incomplete"}

LEFT_OUT = {
    "100_continue_not_sent_when_body_not_consumed": "a body is read ahead of the application, so 100 comes at once",
    "huge_headers_httptools_will_pass": "every head is bounded by HTTPLimits.header_bytes",
    "unsupported_ws_upgrade_request": "WebSocket is built in",
    "unsupported_ws_upgrade_request_warn_on_auto": "WebSocket is built in",
    "header_upgrade_is_websocket_depend_not_installed": "WebSocket is built in",
}


@pytest.mark.parametrize("name", CASES)
async def test_case_of_uvicorn(name: str) -> None:
    case = CASES[name]
    async with mounted({case.prefix: case.application}) as client:
        client.send(case.sent)
        if case.status == CUT_OFF:
            assert (await client.reader.read()).endswith(b"\r\n\r\n1\r\n1\r\n")
        elif case.status != UNANSWERED:
            answer = await client.response(has_body=not case.sent.startswith(b"HEAD"))
            assert answer.status == case.status
            assert case.body is None or answer.body == case.body
            assert not any("smuggled" in value for _, value in answer.fields)
        if case.closes or case.status in {UNANSWERED, CUT_OFF}:
            assert await client.is_closed()
    async with mounted({case.prefix: HELLO}) as client:
        # An error of one request does not affect the next.
        assert (await client.get(f"{case.prefix}/".replace("//", "/"))).body == b"Hello, world"


@pytest.mark.parametrize("sign", ["c", "\t", " ", "µ"])
async def test_header_value_allowed_characters(sign: str) -> None:
    async with mounted(answering(b"", headers=[(b"key", f"<{sign}>".encode())])) as client:
        assert (await client.get("/"))["key"].encode("latin-1") == f"<{sign}>".encode()


async def test_read_after_response() -> None:
    found: list[Any] = []
    read = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await HELLO(scope, receive, send)
        found.append(await receive())
        read.set()

    async with mounted(app) as client:
        assert (await client.post("/", JSON)).body == b"Hello, world"
        await soon(read)
    assert found == [{"type": "http.disconnect"}]


async def test_fragmentation() -> None:
    sent = request("GET", "/?param=" + "q" * 10)
    async with mounted(HELLO) as client:
        for at in range(1, len(sent)):
            client.send(sent[:at])
            await client.writer.drain()
            await asyncio.sleep(0)
            client.send(sent[at:])
            assert (await client.response()).status == 200


@pytest.mark.parametrize(("limit", "status"), [(20_000, 431), (80_000, 200)])
async def test_huge_headers(limit: int, status: int) -> None:
    limits = HTTPLimits(header_bytes=limit)
    async with mounted(HELLO, http={"limits": limits}) as client:
        head = request("GET", "/", Cookie="x" * 65_000)
        client.send(head[:32_000])
        await client.writer.drain()
        client.send(head[32_000:])
        assert (await client.response()).status == status


def names_in(module: str) -> Iterator[str]:
    found = importlib.import_module(f"tests.integration.http.{module}")
    return (name for name in vars(found) if name.startswith("test_"))


def test_every_case_is_here_or_named() -> None:
    names = {name.partition("[")[0] for name in CASES}
    assert len(names | set(OURS) | HERE | set(LEFT_OUT)) == 56
    for module, name in OURS.values():
        assert f"test_{name}" in names_in(module), name
