"""Methods by HTTP: paths, values, metadata, time, errors."""

import base64
import contextlib
import gzip
import math
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from fastrpc import HTTP, Client, Server, ServerConfig, Status
from fastrpc._core.base.histogram import default_registry
from tests.support.http_shop import Shop
from tests.support.http_talk import HttpClient, request, soon

pytestmark = pytest.mark.one_loop

BOTH = ("native", "http")
ECHO = "/shop.v1/echo"


@contextlib.asynccontextmanager
async def serving(shop: Shop | None = None, **options: Any) -> AsyncIterator[HttpClient]:
    """Serve the shop, and connect to it."""
    server_options = {name: options.pop(name) for name in ("authenticate", "limits") if name in options}
    config = ServerConfig(protocols=options.pop("protocols", BOTH), **options)
    async with Server(shop or Shop(), config=config, **server_options) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with await HttpClient.to(address) as client:
            yield client


@pytest.mark.parametrize("protocols", [("native", "http"), ("http",), ("http", "native")])
async def test_a_method_is_called_by_its_path(protocols: tuple[str, ...]) -> None:
    async with serving(protocols=protocols) as client:
        for path in ("echo", "later", "threaded"):
            answer = await client.post(f"/shop.v1/{path}", {"text": "hi"})
            assert (answer.status, answer["content-type"]) == (200, "application/json")
            assert answer.value == ("hihi" if path == "threaded" else "hi")
            assert answer["x-content-type-options"] == "nosniff"


async def test_a_result_of_none_is_null() -> None:
    async with serving() as client:
        assert (await client.post("/shop.v1/inline", {})).body == b"null"
        assert (await client.post("/shop.v1/inline", b"")).body == b"null"


async def test_both_protocols_share_a_port_and_its_handlers() -> None:
    async with Server(Shop(), config=ServerConfig(protocols=BOTH)) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(address) as native, await HttpClient.to(address) as client:
            assert await native.call("shop.v1.echo", "a") == "a"
            assert (await client.post(ECHO, {"text": "b"})).value == "b"


async def test_http_works_over_a_unix_socket(tmp_path: Any) -> None:
    async with Server(Shop(), config=ServerConfig(protocols=BOTH)) as server:
        address = await server.listen(f"unix://{tmp_path}/s")
        async with await HttpClient.to(address) as client:
            assert (await client.post(ECHO, {"text": "b"}, Host="anything")).value == "b"


async def test_typed_values_go_both_ways() -> None:
    async with serving() as client:
        item = {"name": "tea", "price": 2, "tags": ["a", "ä"]}
        answer = await client.post("/shop.v1/raise_price", {"item": item, "by": 3})
        assert answer.value == item | {"price": 5}
        answer = await client.post("/shop.v1/blob", {"data": base64.b64encode(b"\0abc").decode()})
        assert answer.value == base64.b64encode(b"cba\0").decode()


async def test_msgpack_carries_the_same() -> None:
    async with serving() as client:
        item = {"name": "tea", "price": 2, "tags": ["a"]}
        body = msgspec.msgpack.encode({"item": item})
        answer = await client.post("/shop.v1/raise_price", body, Content_Type="application/msgpack")
        assert answer["content-type"] == "application/msgpack"
        assert msgspec.msgpack.decode(answer.body) == item | {"price": 3}
        answer = await client.post("/shop.v1/echo", b"\x91\xa1a", Content_Type="application/msgpack")
        assert answer.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'["a"]',
        b'"a"',
        b"{",
        b"nonsense",
        b'{"text": 1}',
        b'{"text": "a", "other": 1}',
        b'{"0": "a"}',
        b'{"text": "a", "text": "b"}',
        b'{"text": "a", "te\\u0078t": "b"}',
        b'{"text": "a"} {}',
        b'\xff{"text": "a"}',
        b"{}",
    ],
)
async def test_arguments_that_are_no_object_by_name_are_refused(body: bytes) -> None:
    async with serving() as client:
        answer = await client.post(ECHO, body)
        assert (answer.status, answer["content-type"]) == (400, "application/problem+json")
        assert answer.value["code"] == "INVALID_ARGUMENT"
        assert answer.value["processed"] == "no"
        # The connection stays usable.
        assert (await client.post(ECHO, {"text": "a"})).status == 200


@pytest.mark.parametrize(
    "body", [b'{"value": {"a": 1, "a": 2}}', b'{"value": [{"b": {"c": 1, "d": 2, "c": 3}}]}']
)
async def test_a_key_that_comes_twice_inside_is_refused(body: bytes) -> None:
    async with serving() as client:
        assert (await client.post("/shop.v1/anything", body)).status == 400


async def test_numbers_that_json_has_not_are_an_internal_error() -> None:
    async with serving() as client:
        assert (await client.post("/shop.v1/number", {"value": 1.5})).value == 1.5
        for path in ("number", "division"):
            value = math.inf if path == "number" else 1e300
            body = msgspec.msgpack.encode({"value": value})
            if path == "division":
                answer = await client.post("/shop.v1/division", {"value": value})
                assert (answer.status, answer.value["code"]) == (500, "INTERNAL")
            else:
                answer = await client.post("/shop.v1/number", body, Content_Type="application/msgpack")
                assert msgspec.msgpack.decode(answer.body) == math.inf


async def test_an_unknown_path_is_not_found() -> None:
    async with serving() as client:
        for path in (
            "/shop.v1",
            "/shop.v1/",
            "/shop.v1/none",
            "//shop.v1/echo",
            "/shop.v1//echo",
            "/shop.v1/echo/",
            "/shop/v1.echo",
            "/shop/v1/echo",
            "/shop.v1/../shop.v1/echo",
            "/shop.v1/%65cho",
            "/shop.v1.echo",
            "/" + "a" * 300 + "/b",
            "/favicon.ico",
        ):
            answer = await client.post(path, {"text": "a"})
            assert (path, answer.status) == (path, 404)
            assert answer.value["title"] == "Not Found"


async def test_another_verb_is_refused_with_what_is_allowed() -> None:
    async with serving() as client:
        for verb in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "FETCH"):
            answer = await client.ask(verb, ECHO)
            assert (verb, answer.status, answer["allow"]) == (verb, 405, "POST")


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx",
     "application/json; charset=latin-1", "application/x-ndjson"],
)  # fmt: skip
async def test_another_type_is_refused(content_type: str | None) -> None:
    async with serving() as client:
        answer = await client.post(ECHO, {"text": "a"}, Content_Type=content_type)
        assert answer.status == 415


@pytest.mark.parametrize(
    "content_type",
    ["application/json;charset=utf-8", "Application/JSON", 'application/json; charset="UTF-8"'],
)
async def test_a_type_may_say_utf_8(content_type: str) -> None:
    async with serving() as client:
        assert (await client.post(ECHO, {"text": "ä"}, Content_Type=content_type)).value == "ä"


STATUSES = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}


@pytest.mark.parametrize("status", STATUSES)
async def test_an_error_is_a_problem_document(status: str) -> None:
    async with serving() as client:
        answer = await client.post("/shop.v1/fail", {"status": status})
        assert (answer.status, answer["content-type"]) == (STATUSES[status], "application/problem+json")
        document = answer.value
        assert document["type"] == "about:blank"
        assert document["status"] == STATUSES[status]
        assert document["title"]
        assert document["code"] == status
        assert document["detail"] == f"it is {status}"
        assert document["processed"] == "yes"
        assert document["details"] == {"why": [1, "b"]}
        assert ("www-authenticate" in answer) == (status == "UNAUTHENTICATED")
        assert ("retry-after" in answer) == (answer.status in (429, 503))


async def test_every_status_of_ours_has_one_of_http() -> None:
    assert {status.name for status in Status} - {"OK"} == STATUSES.keys()


async def test_the_details_of_an_error_in_msgpack_are_reported_as_well() -> None:
    async with serving() as client:
        body = msgspec.msgpack.encode({"status": "ABORTED"})
        answer = await client.post("/shop.v1/fail", body, Content_Type="application/msgpack")
        assert answer["content-type"] == "application/problem+json"
        assert answer.value["details"] == {"why": [1, "b"]}


async def test_a_crash_reveals_nothing() -> None:
    async with serving() as client:
        answer = await client.post("/shop.v1/crash", {})
        assert answer.status == 500
        assert b"secret" not in answer.body


async def test_metadata_goes_both_ways() -> None:
    async with serving() as client:
        answer = await client.post(
            "/shop.v1/metadata",
            {},
            Meta_User="Ada%20L.%C3%A4",
            Meta_Key_Bin=base64.b64encode(b"\1\2").decode(),
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            Cookie="a=b",
        )
        assert answer.value == {
            "user": "Ada L.ä",
            "key-bin": "0102",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        }
        assert answer["meta-answer"] == "%C3%A4%20b%25c"
        assert answer["meta-raw-bin"] == base64.b64encode(b"\0\xff").decode()


async def test_metadata_that_would_break_the_response_fails_the_call() -> None:
    async with serving() as client:
        answer = await client.post("/shop.v1/breaking", {})
        assert answer.status == 500
        assert "set-cookie" not in answer


@pytest.mark.parametrize(
    "fields",
    [
        b"Meta-frpc-x: 1\r\n",
        b"Meta-: 1\r\n",
        b"meta-:\r\n",
        b"Meta-Authorization: Bearer x\r\n",
        b"Meta-a: 1\r\nMeta-A: 2\r\n",
        b"Meta-a: %zz\r\n",
        b"Meta-a: %\r\n",
        b"Meta-a: %ff\r\n",
        b"Meta-a: \xe4\r\n",
        b"Meta-a*: 1\r\n",
        b"Meta-a-bin: !\r\n",
        b"Meta-traceparent: a\r\ntraceparent: b\r\n",
        b"traceparent: a\r\ntraceparent: b\r\n",
        b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
        b"Timeout-Ms: x\r\n",
        b"Timeout-Ms: -1\r\n",
        b"Timeout-Ms: 1.5\r\n",
        b"Timeout-Ms: \r\n",
        b"Timeout-Ms: 1\r\nTimeout-Ms: 1\r\n",
        b"Timeout-Ms: 9999999999999\r\n",
        b"grpc-timeout: 1\r\n",
        b"grpc-timeout: S\r\n",
        b"grpc-timeout: 123456789S\r\n",
        b"grpc-timeout: 1s\r\n",
    ],
)
async def test_malformed_fields_of_a_call_are_refused(fields: bytes) -> None:
    async with serving() as client:
        whole = request("POST", ECHO, {"text": "a"})
        client.send(whole.replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n", 1))
        assert (await client.response()).status == 400


async def test_too_much_metadata_is_refused() -> None:
    async with serving() as client:
        assert (await client.post(ECHO, {"text": "a"}, Meta_a="x" * 9_000)).status == 431


async def test_the_smaller_timeout_counts() -> None:
    async with serving() as client:
        left = (await client.post("/shop.v1/remaining", {}, Timeout_Ms="60000", grpc_timeout="30S")).value
        assert 0 < left <= 30
        left = (await client.post("/shop.v1/remaining", {}, Timeout_Ms="20000", grpc_timeout="1H")).value
        assert 0 < left <= 20
        assert (await client.post("/shop.v1/remaining", {}, grpc_timeout="30500m")).value <= 30.5


async def test_a_call_that_is_late_is_over() -> None:
    async with serving() as client:
        answer = await client.post("/shop.v1/wait", {}, Timeout_Ms="20")
        assert (answer.status, answer.value["code"]) == (504, "DEADLINE_EXCEEDED")
        answer = await client.post("/shop.v1/echo", {"text": "a"}, Timeout_Ms="0")
        assert (answer.status, answer.value["processed"]) == (504, "no")


@pytest.mark.parametrize("ending", ["close", "abort", "half"])
async def test_the_end_of_the_client_cancels_its_call(ending: str) -> None:
    shop = Shop()
    async with serving(shop) as client:
        client.send(request("POST", "/shop.v1/wait", {}))
        await soon(shop.started)
        if ending == "close":
            client.writer.close()
        elif ending == "abort":
            client.writer.transport.abort()
        else:
            client.writer.write_eof()
        await soon(shop.cancelled)


async def test_the_end_of_a_client_that_sent_ahead_cancels_its_call() -> None:
    shop = Shop()
    async with serving(shop) as client:
        client.send(request("POST", "/shop.v1/wait", {}) + request("POST", ECHO, {"text": "a"}) * 3)
        await soon(shop.started)
        client.writer.close()
        await soon(shop.cancelled)


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    async with serving() as client:
        count = 50
        client.send(
            b"".join(
                request(
                    "POST",
                    f"/shop.v1/{('echo', 'later', 'threaded')[at % 3]}",
                    {"text": str(at)} | ({"times": 1} if at % 3 == 2 else {}),
                )
                for at in range(count)
            )
        )
        assert [(await client.response()).value for _ in range(count)] == [str(at) for at in range(count)]


async def test_an_id_of_the_request_is_answered() -> None:
    async with serving() as client:
        assert (await client.post(ECHO, {"text": "a"}, X_Request_Id="a.b_C-9"))["x-request-id"] == "a.b_C-9"
        made = (await client.post(ECHO, {"text": "a"}, X_Request_Id="a b"))["x-request-id"]
        assert made != "a b"
        assert made.isalnum()
        assert "x-request-id" not in await client.post(ECHO, {"text": "a"})


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Content_Length": str(17 << 20)}, 413),
        ({"Content_Length": None, "Transfer_Encoding": "chunked"}, 400),
        ({"Timeout_Ms": "soon"}, 400),
        ({"Meta_a": "%zz"}, 400),
        ({"Meta_a": "x" * 9_000}, 431),
    ],
)
async def test_an_id_of_a_request_that_is_refused_is_answered(fields: Any, status: int) -> None:
    for given in ("a.b_C-9", "a b", "%0d%0a", '"'):
        async with serving() as client:
            answer = await client.post(ECHO, b"{}x\r\n", X_Request_Id=given, **fields)
            assert (answer.status, answer["x-request-id"] == given) == (status, given == "a.b_C-9")
            assert answer["x-request-id"] == given or answer["x-request-id"].isalnum()
    async with serving() as client:
        assert "x-request-id" not in await client.post(ECHO, b"{}x\r\n", **fields)


async def test_a_body_over_the_limit_is_refused_and_closes() -> None:
    async with serving() as client:
        client.send(request("POST", ECHO, b"", Content_Length=str(17 << 20)))
        assert (await client.response()).status == 413
        assert await client.is_closed()


async def test_a_large_body_and_a_large_answer_go_through() -> None:
    async with serving() as client:
        text = "x" * 5_000_000
        assert (await client.post(ECHO, {"text": text})).value == text
        chunked = request("POST", ECHO, b"", Content_Length=None, Transfer_Encoding="chunked")
        body = b'{"text":"' + b"y" * 300_000 + b'"}'
        pieces = b"".join(
            b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:10], body[10:200_000], body[200_000:])
        )
        client.send(chunked + pieces + b"0\r\n\r\n")
        assert (await client.response()).value == "y" * 300_000


async def test_a_compressed_body_is_bounded() -> None:
    bomb = gzip.compress(b'{"text": "' + b"a" * (40 << 20) + b'"}')
    async with serving() as client:
        body = gzip.compress(b'{"text": "abc"}')
        assert (await client.post(ECHO, body, Content_Encoding="gzip")).value == "abc"
        answer = await client.post(ECHO, bomb, Content_Encoding="gzip")
        assert answer.status in (400, 413)
        assert (await client.post(ECHO, b"broken", Content_Encoding="gzip")).status == 400
        assert (await client.post(ECHO, body, Content_Encoding="br")).status == 415


async def test_methods_may_be_left_out() -> None:
    async with serving(http=HTTP(json=False)) as client:
        answer = await client.post(ECHO, {"text": "a"})
        assert (answer.status, "HTTP(json=True)" in answer.value["detail"]) == (404, True)


async def test_a_path_that_is_not_served_names_the_option_that_serves_it() -> None:
    async with serving(http=HTTP(docs=False)) as client:
        for path, told in (
            ("/docs", "HTTP(docs=True) serves it"),
            ("/jsonrpc", "HTTP(jsonrpc=True) serves it"),
            ("/mcp", "HTTP(mcp=True) serves it"),
            ("/ws/texts/echo", "HTTP(websocket=True) serves it"),
            ("/", "methods are at /service/method"),
        ):
            answer = await client.post(path, {})
            assert (answer.status, told in answer.value["detail"]) == (404, True)


async def test_a_path_without_a_method_names_where_methods_are() -> None:
    async with serving(http=HTTP(websocket=True, jsonrpc=True, docs=True)) as client:
        for path in ("/ws/", "/ws/jsonrpc", "/ws/docs", "/ws/texts.echo"):
            answer = await client.get(path)
            text = f"nothing is at {path!r} here; the sockets of methods are at /ws/service/method"
            assert (answer.status, answer.value["detail"]) == (404, text)


async def test_old_clients_close_after_an_answer() -> None:
    async with serving() as client:
        client.send(request("POST", ECHO, {"text": "a"}, version="1.0"))
        assert (await client.response()).value == "a"
        assert await client.is_closed()


async def test_a_client_that_asks_first_is_told_to_go_on_or_refused() -> None:
    async with serving() as client:
        whole = request("POST", ECHO, {"text": "a"}, Expect="100-continue")
        head, body = whole[: whole.index(b"\r\n\r\n") + 4], whole[whole.index(b"\r\n\r\n") + 4 :]
        client.send(head)
        assert (await client.head()).status == 100
        client.send(body)
        assert (await client.response()).value == "a"
        client.send(head.replace(b"echo", b"none"))
        assert (await client.response()).status == 404
        assert await client.is_closed()


async def test_counters_name_the_protocol() -> None:
    def counted() -> int:
        found = [one for one in default_registry if (one.method, one.protocol) == ("echo", "http")]
        return sum(one.snapshot()["calls"].get("OK", 0) for one in found)

    before = counted()
    async with serving() as client:
        await client.post(ECHO, {"text": "a"})
        assert counted() == before + 1


async def test_an_integer_that_javascript_cannot_hold_may_come_as_text() -> None:
    wide = 2**53 + 1
    async with serving() as client:
        item = {"name": str(wide), "price": str(wide), "tags": []}
        answer = await client.post("/shop.v1/raise_price", {"item": item, "by": str(wide)})
        assert answer.value == {"name": str(wide), "price": 2 * wide, "tags": []}
        assert (await client.post("/shop.v1/raise_price", {"item": item, "by": "1"})).status == 400
        lines = f'{{"arguments":{{"start":"{wide}"}}}}\n{{"value":"{wide}"}}\n{{"value":1}}\n'.encode()
        answer = await client.post("/shop.v1/total", lines, Content_Type="application/x-ndjson")
        assert answer.value == 2 * wide + 1
