"""Calls by Connect over both versions of HTTP (https://connectrpc.com/docs/protocol)."""

import base64
import gzip
import json
from typing import Any
from urllib.parse import quote

import pytest

from fastrpc import HTTP, ConfigError, ServerConfig
from fastrpc.auth import Identity, StaticTokens
from tests.support import web_talk
from tests.support.http_talk import HttpClient, Response, soon
from tests.support.orders import AsyncOrders, source_of
from tests.support.web_talk import CONNECT, Orders, Serving, cut, enveloped, frames, in_parts

pytestmark = pytest.mark.one_loop

ITEM = "/shop.v1.Orders/GetItem"
STREAM = {"Content_Type": "application/connect+json"}

#: "Error Codes" of the document.
CODES = {
    "canceled": 499,
    "unknown": 500,
    "invalid_argument": 400,
    "deadline_exceeded": 504,
    "not_found": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "failed_precondition": 400,
    "aborted": 409,
    "out_of_range": 400,
    "unimplemented": 501,
    "internal": 500,
    "unavailable": 503,
    "data_loss": 500,
    "unauthenticated": 401,
}


async def ask(client: Any, method: str, message: Any = None, **fields: str) -> Response:
    """Call a method that does not stream, in JSON."""
    path = f"/shop.v1.Orders/{method}"
    return await client.post(path, {} if message is None else message, **(CONNECT | fields))


def by_get(message: str, **query: str) -> str:
    """Return the target of a GET."""
    given = {"connect": "v1", "encoding": "json", "message": message} | query
    return f"{ITEM}?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())


class TestUnary:
    async def test_json_has_the_form_of_protobuf(self, serving: Serving) -> None:
        async with serving() as client:
            for message in ({"id": "7"}, {"id": 7}):
                answer = await client.post(ITEM, message, **CONNECT)
                assert (answer.status, answer["content-type"]) == (200, "application/json")
                assert answer.value == {"value": "item 7"}
                assert answer["trailer-seen"] == "yes"
                assert answer["x-content-type-options"] == "nosniff"

    async def test_messages_are_sent_unchanged(self, serving: Serving) -> None:
        async with serving() as client:
            answer = await client.post(ITEM, b"\x08\x07", Content_Type="application/proto")
            assert (answer["content-type"], answer.body) == ("application/proto", b"\n\x06item 7")

    async def test_json_without_the_version_is_a_call_of_the_gateway(self) -> None:
        async with web_talk.serving() as client:
            for fields in ({}, {"Connect_Protocol_Version": "2"}):
                answer = await client.post("/shop.v1.orders/get_item", {"id": 7}, **fields)
                assert answer.value == "item 7"

    @pytest.mark.parametrize(("code", "status"), CODES.items())
    async def test_a_failure_has_the_status_of_its_code(
        self, serving: Serving, code: str, status: int
    ) -> None:
        number = list(CODES).index(code) + 1
        async with serving() as client:
            answer = await ask(client, "Fail", {"code": number})
            assert (answer.status, answer["content-type"]) == (status, "application/json")
            assert answer.value == {"code": code, "message": f"über {number}"}
            assert ("www-authenticate" in answer) == (status == 401)

    async def test_details_are_messages_in_base64(self, serving: Serving) -> None:
        async with serving() as client:
            (detail,) = (await ask(client, "GetItem", {"id": 0})).value["details"]
            assert detail["type"] == "google.protobuf.Value"
            # A Struct of the field `id`.
            assert b"\n\x02id" in base64.b64decode(detail["value"] + "==")

    async def test_a_body_is_unpacked_and_the_answer_packed_as_it(self, serving: Serving) -> None:
        async with serving() as client:
            answer = await ask(client, "GetItem", gzip.compress(b'{"id": "7"}'), Content_Encoding="gzip")
            assert answer.value == {"value": "item 7"}
            content = json.dumps({"id": "7"}).encode()
            answer = await ask(
                client, "Show", gzip.compress(b"{}"), Content_Encoding="gzip", X_Long="a" * 4_000,
                Accept_Encoding="br, gzip;q=0.5",
            )  # fmt: skip
            assert answer["content-encoding"] == "gzip"
            assert json.loads(gzip.decompress(answer.body))["value"]["x-long"] == "a" * 4_000
            answer = await ask(client, "GetItem", content, Content_Encoding="br")
            assert (answer.status, answer.value["code"]) == (501, "unimplemented")
            assert answer["accept-encoding"] == "identity,gzip"

    async def test_fields_are_metadata_except_fields_of_http(self, serving: Serving) -> None:
        async with serving() as client:
            fields = {"User_Agent": "me", "X_Key": "a", "Raw_Bin": "AAE", "Accept": "*/*", "Cookie": "no=1"}
            answer = await ask(client, "Show", Connect_Timeout_Ms="30000", X_Forwarded_For="a", **fields)
            assert answer.value["value"] == {
                "user-agent": "me",
                "x-key": "a",
                "protocol": "connect",
                "timed": "True",
            }
            assert answer["trailer-raw-bin"] == "AAE"
            assert (await ask(client, "Show")).value["value"] == {"protocol": "connect", "timed": "False"}

    async def test_a_field_may_come_several_times(self) -> None:
        async with web_talk.serving() as client:
            client.send(b"POST /shop.v1.Orders/Show HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n")
            client.send(b"Content-Type: application/json\r\nConnect-Protocol-Version: 1\r\n")
            client.send(b"X-Key: a\r\nX-Key: b\r\n\r\n{}")
            assert (await client.response()).value["value"]["x-key"] == "a,b"

    async def test_metadata_over_the_limit_is_refused(self, serving: Serving) -> None:
        async with serving() as client:
            answer = await ask(client, "Show", X_Key="a" * 9_000)
            assert (answer.status, answer.value["code"]) == (429, "resource_exhausted")

    async def test_a_head_that_left_early_comes_with_the_answer(self, serving: Serving) -> None:
        async with serving() as client:
            answer = await ask(client, "Twice")
            assert (answer["first"], answer["trailer-last"], answer.value) == (
                "head",
                "end",
                {"value": "done"},
            )

    @pytest.mark.parametrize("key", ["content-type", "set-cookie", "access-control-allow-origin"])
    async def test_metadata_of_an_answer_is_no_field_of_http(self, serving: Serving, key: str) -> None:
        async with serving() as client:
            answer = await ask(client, "Fail", {"key": key})
            assert (answer.status, answer.value["code"]) == (500, "internal")

    @pytest.mark.parametrize("timeout", ["", "-1", "1.5", "12345678901", "x"])
    async def test_a_malformed_timeout_is_refused(self, serving: Serving, timeout: str) -> None:
        async with serving() as client:
            answer = await ask(client, "GetItem", {"id": 1}, Connect_Timeout_Ms=timeout)
            assert (answer.status, answer.value["code"]) == (400, "invalid_argument")

    async def test_a_deadline_that_passed_is_reported(self, serving: Serving) -> None:
        orders = Orders()
        async with serving(orders) as client:
            answer = await ask(client, "Wait", Connect_Timeout_Ms="0")
            assert (answer.status, answer.value["code"]) == (504, "deadline_exceeded")
            answer = await ask(client, "Wait", Connect_Timeout_Ms="10")
            assert (answer.status, answer.value["code"]) == (504, "deadline_exceeded")

    async def test_an_end_of_the_connection_cancels_the_handler(self) -> None:
        orders = Orders()
        async with web_talk.serving(orders) as client:
            client.send(b"POST /shop.v1.Orders/Wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n")
            client.send(b"Content-Type: application/proto\r\n\r\n")
            await soon(orders.started)
            client.writer.close()
            await soon(orders.cancelled)

    async def test_a_body_over_the_limit_is_refused_in_json(self, serving: Serving) -> None:
        async with serving() as client:
            fields = {"Content_Type": "application/proto", "Content_Length": str(1 << 40)}
            if isinstance(client, HttpClient):
                answer = await client.post(ITEM, b"", **fields)
                assert answer.status == 413
            else:
                # By a status of the call: the stream continues until then.
                stream = client.begin("POST", ITEM, **fields)
                client.send(stream, b"\x08")
                answer = await client.end(stream)
                assert answer.status == 429
            assert answer.value["code"] == "resource_exhausted"

    async def test_unknown_methods_and_unknown_types_have_different_errors(self, serving: Serving) -> None:
        async with serving() as client:
            answer = await client.post("/shop.v1.Orders/Nothing", {}, **CONNECT)
            assert (answer.status, answer.value["code"]) == (404, "unimplemented")
            answer = await client.ask("PUT", ITEM, **CONNECT, Content_Type="application/json")
            assert (answer.status, answer["allow"]) == (405, "GET, POST")
            answer = await ask(client, "Count", {"to": 1})
            assert (answer.status, "application/connect+json" in answer.value["detail"]) == (415, True)
            answer = await client.post(ITEM, b"", Content_Type="application/connect+thrift")
            assert (answer.status, answer["accept-post"]) == (
                415,
                "application/connect+proto, application/connect+json",
            )
            answer = await client.post(ITEM, enveloped(b""), Content_Type="application/connect+proto")
            assert answer.status == 415

    async def test_a_wrong_body_is_an_invalid_argument(self, serving: Serving) -> None:
        async with serving() as client:
            for body in (b"", b"{", b"[]", b'{"id": "x"}', b'{"id": 1, "id": 2}'):
                answer = await ask(client, "GetItem", body)
                assert (answer.status, answer.value["code"]) == (400, "invalid_argument"), body


@pytest.mark.parametrize("way", ["service", "handlers"])
async def test_messages_of_generated_code_are_json_as_well(serving: Serving, way: str) -> None:
    async with serving(source_of(way, AsyncOrders())) as client:
        answer = await client.post("/shop.v1.Orders/Get", {"name": "tea", "count": 2}, **CONNECT)
        assert answer.value == {"text": "tea", "total": 2}
        answer = await client.post("/shop.v1.Orders/Get", {"none": 1}, **CONNECT)
        assert (answer.status, answer.value["code"]) == (400, "invalid_argument")
        answer = await client.post("/shop.v1.Orders/Total", enveloped({"count": 2}, {"count": 3}), **STREAM)
        assert cut(answer) == ([{"text": "total", "total": 5}], {})


class TestGet:
    @pytest.mark.parametrize(
        ("message", "query"),
        [
            ('{"id": "7"}', {}),
            ("\x08\x07", {"encoding": "proto"}),
            (base64.urlsafe_b64encode(b'{"id": 7}').decode().rstrip("="), {"base64": "1"}),
            (
                base64.urlsafe_b64encode(gzip.compress(b"\x08\x07", mtime=0)).decode(),
                {"base64": "1", "compression": "gzip", "encoding": "proto"},
            ),
        ],
    )
    async def test_a_safe_method_is_asked_by_its_query(
        self, serving: Serving, message: str, query: dict[str, str]
    ) -> None:
        async with serving() as client:
            answer = await client.get(by_get(message, **query))
            proto = query.get("encoding") == "proto"
            assert answer.body == (b"\n\x06item 7" if proto else b'{"value":"item 7"}')
            assert answer["content-type"] == f"application/{'proto' if proto else 'json'}"

    async def test_no_other_method_is(self, serving: Serving) -> None:
        async with serving() as client:
            target = by_get('{"id": 7}').replace("GetItem", "Change")
            answer = await client.get(target)
            assert (answer.status, answer["allow"]) == (405, "POST")

    @pytest.mark.parametrize(
        ("message", "query", "status"),
        [
            ("{", {}, 400),
            ("*", {"base64": "1"}, 400),
            ("{}", {"encoding": "thrift"}, 415),
            ("{}", {"compression": "br"}, 501),
        ],
    )
    async def test_a_wrong_query_is_refused(
        self, serving: Serving, message: str, query: dict[str, str], status: int
    ) -> None:
        async with serving() as client:
            assert (await client.get(by_get(message, **query))).status == status

    async def test_a_query_without_the_version_is_read_by_the_gateway(self) -> None:
        async with web_talk.serving() as client:
            assert (await client.get("/shop.v1.orders/get_item?id=7")).value == "item 7"


class TestStreams:
    async def test_a_server_streams_messages_and_their_end(self, serving: Serving) -> None:
        async with serving() as client:
            answer = await client.post("/shop.v1.Orders/Count", enveloped({"to": 2}), **STREAM)
            assert (answer.status, answer["content-type"]) == (200, "application/connect+json")
            assert answer["first"] == "head"
            # A zero is not written, nor is an empty text.
            assert cut(answer) == ([{"value": "0"}, {"value": "1"}], {"metadata": {"last": ["end"]}})

    async def test_a_failure_is_in_the_end(self, serving: Serving) -> None:
        async with serving() as client:
            answer = await client.post("/shop.v1.Orders/Count", enveloped({"to": 4}), **STREAM)
            messages, end = cut(answer)
            assert (answer.status, len(messages)) == (200, 4)
            assert end == {"error": {"code": "aborted", "message": "too many"}, "metadata": {"last": ["end"]}}

    async def test_a_refusal_is_in_the_end_as_well(self, serving: Serving) -> None:
        async with serving() as client:
            answer = await client.post("/shop.v1.Orders/Nothing", enveloped({}), **STREAM)
            assert (answer.status, cut(answer)[1]["error"]["code"]) == (200, "unimplemented")

    async def test_a_caller_streams(self, serving: Serving) -> None:
        async with serving() as client:
            body = enveloped({"value": "5"}, {"value": 6})
            answer = await client.post("/shop.v1.Orders/Add", body, **STREAM)
            assert cut(answer) == ([{"value": "11"}], {})

    async def test_a_body_in_parts_is_taken_as_it_comes(self, serving: Serving) -> None:
        async with serving() as client:
            body = enveloped(b"\x08\x05", b"\x08\x06")
            parts = [body[at : at + 1] for at in range(len(body))]
            answer = await in_parts(client, "Add", parts, "application/connect+proto")
            assert frames(answer.body) == [(0, b"\x08\x0b"), (2, b"{}")]
            answer = await in_parts(client, "GetItem", [b"\x08", b"\x07"], "application/proto")
            assert answer.body == b"\n\x06item 7"

    async def test_streams_both_ways_take_http2(self, serving: Serving) -> None:
        async with serving() as client:
            answer = await client.post("/shop.v1.Orders/Both", enveloped({"value": 1}), **STREAM)
            if isinstance(client, HttpClient):
                assert answer.status == 505
            else:
                assert cut(answer) == ([{"value": "2"}], {})

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", "unimplemented"),
            (enveloped({"to": 1}, {"to": 1}), "unimplemented"),
            (enveloped({"to": 1})[:-1], "internal"),
            (enveloped({"to": 1})[:3], "internal"),
            (enveloped({"to": 1}, flags=2), "internal"),
            (enveloped({"to": 1}, flags=1), "internal"),
            (b"\0\xff\xff\xff\xff", "resource_exhausted"),
            (enveloped([]), "invalid_argument"),
        ],
    )
    async def test_a_body_that_breaks_a_rule_is_refused(
        self, serving: Serving, body: bytes, code: str
    ) -> None:
        async with serving() as client:
            for method in ("Count", "Add"):
                answer = await client.post(f"/shop.v1.Orders/{method}", body, **STREAM)
                known = {"Count": code, "Add": "invalid_argument" if body == enveloped([]) else code}[method]
                if method == "Add" and code == "unimplemented":
                    continue
                assert cut(answer)[1]["error"]["code"] == known, method

    async def test_messages_are_packed_one_by_one(self, serving: Serving) -> None:
        async with serving() as client:
            body = enveloped(gzip.compress(b'{"to": 1, "text": "%b"}' % (b"a" * 4_000)), flags=1)
            fields = STREAM | {"Connect_Content_Encoding": "gzip", "Connect_Accept_Encoding": "gzip"}
            answer = await client.post("/shop.v1.Orders/Count", body, **fields)
            assert answer["connect-content-encoding"] == "gzip"
            (flags, packed), _ = frames(answer.body)
            assert (flags, json.loads(gzip.decompress(packed))) == (1, {"value": "a" * 4_000 + "0"})
            fields["Connect_Content_Encoding"] = "br"
            answer = await client.post("/shop.v1.Orders/Count", body, **fields)
            assert cut(answer)[1]["error"]["code"] == "unimplemented"
            assert answer["connect-accept-encoding"] == "identity,gzip"


class TestCallers:
    async def test_identity_belongs_to_each_request(self, serving: Serving) -> None:
        tokens = StaticTokens({"ada": Identity("ada")})
        async with serving(authenticate=tokens) as client:
            for token, status in ((None, 401), ("Bearer ada", 200), ("Bearer bob", 401), (None, 401)):
                answer = await client.post(ITEM, {"id": 7}, **CONNECT, Authorization=token)
                assert answer.status == status

    async def test_pages_of_other_origins_are_refused(self, serving: Serving) -> None:
        async with serving(origins=("https://shop.example",)) as client:
            for fields in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
                assert (await client.post(ITEM, {"id": 7}, **CONNECT, **fields)).status == 403
                assert (await client.get(by_get('{"id": 7}'), **fields)).status == 403

    async def test_a_page_of_an_allowed_origin_reads_every_field(self, serving: Serving) -> None:
        async with serving(origins=("https://shop.example",)) as client:
            origin = {"Origin": "https://shop.example"}
            names = "content-type,connect-protocol-version,connect-timeout-ms,authorization,x-any"
            asked = {
                "Access_Control_Request_Method": "POST",
                "Access_Control_Request_Headers": names,
                **origin,
            }
            preflight = await client.ask("OPTIONS", ITEM, **asked)
            assert (preflight.status, preflight["access-control-allow-headers"]) == (204, names)
            answer = await client.post(ITEM, {"id": 7}, **CONNECT, **origin)
            assert answer["access-control-allow-origin"] == "https://shop.example"
            assert answer["access-control-expose-headers"] == "*"
            assert "access-control-allow-credentials" not in answer

    async def test_protocols_take_turns_on_one_connection(self) -> None:
        async with web_talk.serving() as client:
            for protocol in ("connect", "http", "connect"):
                fields = CONNECT if protocol == "connect" else {}
                answer = await client.post("/shop.v1.orders/show", {}, **fields)
                found = answer.value["value"] if protocol == "connect" else answer.value
                assert found["protocol"] == protocol

    async def test_connect_is_off_by_default(self, serving: Serving) -> None:
        async with serving(connect=False, grpc_web=False) as client:
            assert (await client.post(ITEM, b"\x08\x07", Content_Type="application/proto")).status == 415
        with pytest.raises(ConfigError, match="HTTP.connect"):
            ServerConfig(http=HTTP(connect=True))
