"""`current_call().http(…)`: the status and the fields of an answer by HTTP, and none over other protocols."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import HTTP, CallError, Client, Server, ServerConfig, Status, current_call
from tests.support.http_talk import HttpClient

pytestmark = pytest.mark.one_loop


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.errors: list[str] = []

    @fastrpc.method
    async def answer(
        self, status: int | None = None, headers: dict[str, str] | None = None, result: str | None = None
    ) -> str | None:
        current_call().http(status=status, headers=headers)
        return result

    @fastrpc.method(safe=True)
    async def safe(self) -> str:
        current_call().http(status=203, headers={"ETag": '"7"'})
        return "a"

    @fastrpc.method
    async def twice(self) -> str:
        current_call().http(status=201, headers={"Location": "/a", "X-One": "1"})
        current_call().http(headers={"location": "/b"})
        return "a"

    @fastrpc.method
    async def refused(self) -> None:
        current_call().http(status=201, headers={"Location": "/a"})
        raise CallError(Status.NOT_FOUND, "nothing")

    @fastrpc.method
    def in_a_thread(self) -> str:
        current_call().http(status=202)
        return "a"

    @fastrpc.method
    async def numbers(self, status: int | None = None) -> AsyncIterator[int]:
        current_call().http(status=status, headers={"X-Kind": "numbers"})
        yield 1
        try:
            current_call().http(headers={"X-Late": "1"})
        except RuntimeError as error:
            self.errors.append(str(error))
        yield 2


@contextlib.asynccontextmanager
async def serving(shop: Shop | None = None, **http: Any) -> AsyncIterator[HttpClient]:
    config = ServerConfig(protocols=("native", "http"), http=HTTP(**http))
    async with Server(shop or Shop(), config=config) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 226, 299])
async def test_a_handler_chooses_its_status_and_fields(status: int) -> None:
    async with serving() as client:
        given = {"status": status, "headers": {"Location": "/orders/7", "ETag": '"a"'}, "result": "tea"}
        answer = await client.post("/shop/answer", given)
    assert (answer.status, answer.value, answer["location"], answer["etag"]) == (
        status,
        "tea",
        "/orders/7",
        '"a"',
    )
    assert answer["content-type"] == "application/json"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_handler_sends_its_caller_to_another_place(status: int) -> None:
    async with serving() as client:
        answer = await client.post("/shop/answer", {"status": status, "headers": {"Location": "/x"}})
    assert (answer.status, answer["location"], answer.value) == (status, "/x", None)


@pytest.mark.parametrize(("status", "length"), [(204, []), (205, ["0"])])
@pytest.mark.parametrize("content_type", ["application/json", "application/msgpack"])
async def test_a_status_without_a_body_sends_no_body(
    content_type: str, status: int, length: list[str]
) -> None:
    encode = msgspec.json.encode if content_type.endswith("json") else msgspec.msgpack.encode
    async with serving() as client:
        body = encode({"status": status, "headers": {"X-One": "1"}})
        answer = await client.post("/shop/answer", body, Content_Type=content_type)
        assert (answer.status, answer.body, answer["x-one"]) == (status, b"", "1")
        assert "content-type" not in answer
        assert [value for name, value in answer.fields if name == "content-length"] == length
        assert (await client.post("/shop/answer", {"result": "next"})).value == "next"


@pytest.mark.parametrize("status", [204, 205])
async def test_a_status_without_a_body_and_a_result_are_an_error(status: int) -> None:
    async with serving() as client:
        answer = await client.post("/shop/answer", {"status": status, "result": "tea"})
    assert (answer.status, answer.value["code"]) == (500, "INTERNAL")
    assert f"the status {status}, which has no body, and its result is not None" in answer.value["detail"]


async def test_a_later_call_replaces_fields_and_keeps_other_fields() -> None:
    async with serving() as client:
        answer = await client.post("/shop/twice", {})
    assert (answer.status, answer["location"], answer["x-one"]) == (201, "/b", "1")


async def test_a_get_a_thread_and_an_error() -> None:
    async with serving() as client:
        answer = await client.get("/shop/safe")
        assert (answer.status, answer["etag"], answer["cache-control"]) == (203, '"7"', "no-store")
        assert (await client.post("/shop/in_a_thread", {})).status == 202
        refused = await client.post("/shop/refused", {})
        assert (refused.status, "location" in refused) == (404, False)


@pytest.mark.parametrize(("status", "told"), [(None, 200), (203, 203), (204, 200)])
async def test_a_stream_has_them_in_its_head(status: int | None, told: int) -> None:
    shop = Shop()
    async with serving(shop) as client:
        answer = await client.post("/shop/numbers", {"status": status})
    assert (answer.status, answer["x-kind"], "x-late" in answer) == (told, "numbers", False)
    assert [line["value"] for line in answer.lines[:2]] == [1, 2]
    assert shop.errors == ["the head of the answer was sent: call http() before the first message"]


@pytest.mark.parametrize(
    "headers",
    [
        {name: "a"}
        for name in (
            *(
                "Content-Type",
                "content-length",
                "Transfer-Encoding",
                "Connection",
                "Date",
                "Cache-Control",
                "Vary",
            ),
            *(
                "X-Request-Id",
                "Retry-After",
                "Content-Encoding",
                "Meta-user",
                "meta-x",
                "Upgrade",
                "Keep-Alive",
            ),
            *("Access-Control-Allow-Origin", "Sec-WebSocket-Accept", "", "a b", "a:", "a\r\nb", "ä", "a\0"),
        )
    ]
    + [
        {"X-A": value} for value in ("a\r\nSet-Cookie: b", "a\n", "a\r", "a\0b", " a", "a ", "\u20ac", "\x7f")
    ],
)
async def test_fields_of_the_gateway_and_broken_ones_are_refused(headers: Mapping[str, str]) -> None:
    await refused({"headers": headers}, "ValueError: headers")


@pytest.mark.parametrize("status", [0, 100, 101, 199, 300, 304, 305, 306, 400, 404, 500, -1])
async def test_statuses_of_errors_and_of_the_protocol_are_refused(status: int) -> None:
    await refused({"status": status}, f"ValueError: status is {status}, it must be 200 to 299")


async def refused(arguments: dict[str, Any], text: str) -> None:
    """Call a handler that fails because it gave these."""
    config = ServerConfig(protocols=("native", "http"), expose_errors=True)
    async with Server(Shop(), config=config) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            answer = await client.post("/shop/answer", arguments)
    assert answer.status == 500
    assert text in answer.value["detail"]


async def test_other_ways_in_have_neither() -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "shop.answer", "params": {"status": 201, "result": "a"}}
    config = ServerConfig(protocols=("native", "http"), http=HTTP(jsonrpc=True))
    async with Server(Shop(), config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address)) as native, await HttpClient.to(address) as client:
            assert await native.call(Shop.answer, 204, {"X-A": "b"}, "a") == "a"
            answer = await client.post("/jsonrpc", body)
    assert (answer.status, answer.value["result"]) == (200, "a")


async def test_a_call_of_ours_has_no_answer_to_describe() -> None:
    found: list[str] = []

    async def around(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        with pytest.raises(RuntimeError, match="this side made this one"):
            call.http(status=201)
        found.append(call.method)
        return await proceed(call)

    async with Server(Shop()) as server:
        async with Client(str(await server.listen("memory://shop")), interceptors=[around]) as client:
            await client.call(Shop.answer, result="a")
    assert found == ["shop.answer"]
