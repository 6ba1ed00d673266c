"""All mistakes of a request's arguments, in the details of its one error."""

import contextlib
import json
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

import fastrpc
from fastrpc import HTTP, Client, Limits, Server, ServerConfig
from fastrpc.errors import CallError
from fastrpc.interceptors import AccessLog
from tests.support.http_shop import Shop
from tests.support.http_talk import HttpClient, Response, request
from tests.support.mistaken_bodies import BODIES, without_own_words
from tests.support.mistaken_bodies import SECRET as MISTAKEN
from tests.support.mistaken_bodies import Shop as Buyer

pytestmark = pytest.mark.one_loop

RAISE = "/shop.v1/raise_price"
SECRET = "hunter2-7f3a"
WRONG = {"item": {"name": 5, "price": SECRET, "tags": ["a", 1, SECRET]}, "by": None}
MISTAKES = [
    {"path": "item.name", "expected": "str", "got": "int"},
    {"path": "item.price", "expected": "int", "got": "str"},
    {"path": "item.tags[1]", "expected": "str", "got": "int"},
    {"path": "by", "expected": "int", "got": "null"},
]


class Pet(pydantic.BaseModel):
    kind: Literal["cat", "dog"]


class Owner(pydantic.BaseModel):
    name: str
    age: Annotated[int, pydantic.Field(ge=18)]
    pets: list[Pet] = []
    id: uuid.UUID | None = None


@fastrpc.service("pets")
class Pets:
    @fastrpc.method
    async def register(self, owner: Owner, count: int) -> None: ...


WRONG_OWNER = {"owner": {"age": 7, "pets": [{"kind": "cat"}, {"kind": SECRET}], "id": SECRET}, "count": "1"}
MISTAKES_OF_OWNER = [
    {"path": "owner.name", "expected": "a value", "got": "nothing"},
    {"path": "owner.age", "expected": "greater than or equal to 18", "got": "int"},
    {"path": "owner.pets[1].kind", "expected": "'cat' or 'dog'", "got": "str"},
    {"path": "owner.id", "expected": "a valid UUID", "got": "str"},
    {"path": "count", "expected": "int", "got": "str"},
]


@contextlib.asynccontextmanager
async def serving(*sources: Any, interceptors: Any = (), **options: Any) -> AsyncIterator[HttpClient]:
    config = ServerConfig(protocols=("native", "http"), **options)
    async with Server(*(sources or (Shop(), Pets)), config=config, interceptors=interceptors) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client


async def test_json_tells_all_mistakes_and_no_value(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as client:
        answer = await client.post(RAISE, WRONG)
    assert answer.status == 400
    assert answer.value["details"] == MISTAKES
    assert answer.value["detail"] == "shop.v1.raise_price: item.name: expected `str`, got `int`"
    assert SECRET not in answer.body.decode() + caplog.text


async def test_msgpack_tells_the_same() -> None:
    async with serving() as client:
        answer = await client.post(RAISE, msgspec.msgpack.encode(WRONG), Content_Type="application/msgpack")
    assert (answer.status, answer.value["details"]) == (400, MISTAKES)


async def test_json_rpc_tells_the_same() -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "shop.v1.raise_price", "params": WRONG}
    async with serving(http=HTTP(jsonrpc=True)) as client:
        error = (await client.post("/jsonrpc", body)).value["error"]
        by_position = (await client.post("/jsonrpc", body | {"params": [WRONG["item"], None]})).value["error"]
    assert (error["code"], error["data"]["details"]) == (-32602, MISTAKES)
    assert by_position["data"]["details"] == MISTAKES


async def test_each_mistake_in_a_model_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as client:
        answer = await client.post("/pets/register", WRONG_OWNER)
        packed = msgspec.msgpack.encode(WRONG_OWNER)
        same = await client.post("/pets/register", packed, Content_Type="application/msgpack")
    assert (answer.status, answer.value["details"]) == (400, MISTAKES_OF_OWNER)
    assert answer.value["detail"].startswith("pets.register: owner.name: field required (also age: ")
    assert same.value["details"] == MISTAKES_OF_OWNER
    assert SECRET not in answer.body.decode() + caplog.text


async def test_json_rpc_tells_each_mistake_in_a_model() -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "pets.register", "params": WRONG_OWNER}
    async with serving(http=HTTP(jsonrpc=True)) as client:
        error = (await client.post("/jsonrpc", body)).value["error"]
    assert (error["code"], error["data"]["details"]) == (-32602, MISTAKES_OF_OWNER)


Post = Callable[[HttpClient, str, Any], Awaitable[Response]]


async def post_json(client: HttpClient, name: str, body: Any) -> Response:
    return await client.post(f"/shop/{name}", body)


async def post_msgpack(client: HttpClient, name: str, body: Any) -> Response:
    packed = msgspec.msgpack.encode(body)
    return await client.post(f"/shop/{name}", packed, Content_Type="application/msgpack")


async def post_json_rpc(client: HttpClient, name: str, body: Any) -> Response:
    return await client.post(
        "/jsonrpc", {"jsonrpc": "2.0", "id": 1, "method": f"shop.{name}", "params": body}
    )


def all_logged(records: Sequence[logging.LogRecord]) -> str:
    """Return all that a handler could write: texts, fields and errors."""
    format_error = logging.Formatter().formatException
    return "".join(
        f"{record.getMessage()} {vars(record)} {format_error(record.exc_info) if record.exc_info else ''}"
        for record in records
    )


@pytest.mark.parametrize("post", [post_json, post_msgpack, post_json_rpc])
async def test_details_are_the_mistakes_and_no_answer_or_log_has_a_value(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    access = AccessLog(level="debug")
    async with serving(Buyer, http=HTTP(jsonrpc=True), interceptors=[access]) as client:
        for name, body, mistakes in BODIES:
            caplog.clear()
            answer = await post(client, name, body)
            found = answer.value.get("error", answer.value)
            details = found.get("data", found).get("details", [])
            assert answer.status == (200 if post is post_json_rpc else 400)
            if post is post_json_rpc and isinstance(body, list):
                # There they are arguments by position.
                mistakes = [("values", "array", "str")]
            assert [tuple(one.values()) for one in details] == mistakes
            assert MISTAKEN not in json.dumps(details)
            assert MISTAKEN not in without_own_words(f"{answer.fields} {answer.body!r}"), name
            assert "refused a call" in caplog.text, name
            assert MISTAKEN not in without_own_words(all_logged(caplog.records)), name
        # Refused calls had no values: no interceptor saw them.
        await post(client, "sum", {"values": [1.5]})
        assert "fastrpc.access" in {record.name for record in caplog.records}


@pytest.mark.parametrize(
    ("verb", "target", "fields", "status"),
    [
        ("PUT", "/quote/1", {}, 405),
        ("GET", f"/quote/{MISTAKEN}", {}, 400),
        ("GET", f"/quote/1?unit={MISTAKEN}", {}, 400),
        ("POST", "/quotes/quote", {"Content_Type": "text/plain"}, 415),
        ("DELETE", "/quotes/quote", {}, 405),
    ],
)
async def test_the_log_of_a_request_that_http_refuses_names_its_status(
    verb: str, target: str, fields: dict[str, str], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    @fastrpc.service("quotes")
    class Quotes:
        @fastrpc.method(safe=True, http="GET /quote/{number}")
        async def quote(self, number: int) -> int:
            return number

    caplog.set_level(logging.DEBUG)
    async with serving(Quotes) as client:
        client.send(request(verb, target, b"1" if fields else b"", **fields))
        assert (await client.response()).status == status
    (record,) = [one for one in caplog.records if getattr(one, "event", None) == "call_refused"]
    assert record.getMessage().endswith(f": quotes.quote: the request is refused with {status}")
    assert MISTAKEN not in all_logged([record])


async def test_missing_and_unknown_parameters_are_reported_together() -> None:
    async with serving() as client:
        answer = await client.post(RAISE, {"itme": 1})
    assert answer.value["details"] == [
        {"path": "itme", "expected": "nothing", "got": "int"},
        {"path": "item", "expected": "Item", "got": "nothing"},
    ]


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (b'{"item": {"name"', {}),
        (b'{"item": 1, "item": 2}', {}),
        (b"[1]", {}),
        (b'{"item": [[[[[1]]]]]}', {"limits": Limits(depth=3)}),
    ],
    ids=["cut", "twice", "array", "deep"],
)
async def test_a_body_that_was_refused_as_a_whole_is_not_searched(
    body: bytes, options: dict[str, Any]
) -> None:
    async with serving(**options) as client:
        answer = await client.post(RAISE, body)
    assert (answer.status, "details" in answer.value) == (400, False)


@pytest.mark.parametrize("ignored", [b"9" * 5_000, b'"\xff"'])
async def test_no_ignored_member_hides_a_key_that_comes_twice(ignored: bytes) -> None:
    item = b'{"name":"tea","price":1,"pri%s":2,"tags":[],"ignored":' + ignored + b"}"
    async with serving() as client:
        assert (await client.post(RAISE, b'{"item":' + item % b"\\u0076" + b"}")).value["price"] == 2
        answer = await client.post(RAISE, b'{"item":' + item % b"\\u0063e" + b"}")
        assert (answer.status, answer.value["code"]) == (400, "INVALID_ARGUMENT")


async def test_native_calls_have_the_first_mistake_alone() -> None:
    async with Server(Shop()) as server, Client(str(await server.listen("memory://shop"))) as client:
        with pytest.raises(CallError, match=r"item.name: expected `str`, got `int`") as caught:
            await client.call("shop.v1.raise_price", **WRONG)
    assert caught.value.details is None
