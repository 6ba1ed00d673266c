"""Routes by HTTP: the path, the query and the body of a method, and its rules."""

import contextlib
import datetime
import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
import pydantic
import pytest

import fastrpc
from fastrpc import HTTP, CallError, Identity, Server, ServerConfig, Status
from fastrpc._core.base.histogram import default_registry
from fastrpc.auth import StaticTokens
from fastrpc.errors import ConfigError
from fastrpc.interceptors import AccessLog
from fastrpc.limits import RateLimit
from tests.support.http_talk import HttpClient, Response, request
from tests.support.peer_writing import write_to

pytestmark = pytest.mark.one_loop

ID = uuid.UUID(int=7)


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Item:
    name: str
    price: float


class Label(pydantic.BaseModel):
    text: str = pydantic.Field(validation_alias="words")


@fastrpc.service("shop")
class Orders:
    def __init__(self) -> None:
        self.called: list[Any] = []

    def _note(self, *values: Any) -> list[str]:
        self.called.append(values)
        return [repr(value) for value in values]

    @fastrpc.method(safe=True, http="GET /orders/{id}")
    async def get(self, id: int, verbose: bool = False, tags: tuple[str, ...] = ()) -> list[str]:
        return self._note(id, verbose, tags)

    @fastrpc.method(http="POST /orders")
    async def create(self, item: Item) -> list[str]:
        return self._note(item)

    @fastrpc.method(http="PUT /orders/{id}")
    async def replace(self, id: int, item: Item) -> list[str]:
        return self._note(id, item)

    @fastrpc.method(http="PATCH /orders/{id}")
    async def change(self, id: int, name: str | None = None, price: float | None = None) -> list[str]:
        return self._note(id, name, price)

    @fastrpc.method(http="DELETE /orders/{id}")
    async def delete(self, id: int, reason: str = "") -> list[str]:
        return self._note(id, reason)

    @fastrpc.method(safe=True, http="GET /orders/latest")
    async def latest(self) -> list[str]:
        return self._note("latest")

    @fastrpc.method(http="POST /orders/{id}/ship")
    async def ship(self, id: int) -> list[str]:
        return self._note(id)

    @fastrpc.method(http="POST /orders/{id}/labels")
    async def label(self, id: int, label: Label) -> list[str]:
        return self._note(id, label)

    @fastrpc.method(safe=True, http="GET /files/{path:path}")
    async def file(self, path: str) -> list[str]:
        return self._note(path)

    @fastrpc.method(safe=True, http="GET /by/{key}/{day}/{size}")
    async def typed(self, key: uuid.UUID, day: datetime.date, size: Size) -> list[str]:
        return self._note(key, day, size)

    @fastrpc.method(safe=True, http="GET /names/{name}")
    async def named(self, name: str) -> list[str]:
        return self._note(name)

    @fastrpc.method(safe=True, http="GET /numbers/{limit}")
    async def numbers(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number


@contextlib.asynccontextmanager
async def serving(orders: Orders | None = None, **options: Any) -> AsyncIterator[HttpClient]:
    server_options = {
        name: options.pop(name)
        for name in ("authenticate", "authorize", "interceptors", "limits")
        if name in options
    }
    config = ServerConfig(protocols=("native", "http"), **options)
    async with Server(orders or Orders(), config=config, **server_options) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client


async def asked(client: HttpClient, verb: str, target: str, body: Any = None, **fields: str) -> Response:
    content = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
    given: dict[str, str | None] = (
        {"Content_Length": str(len(content))} if verb not in {"GET", "HEAD"} else {}
    )
    if body is not None:
        given["Content_Type"] = "application/json"
    elif verb == "POST":
        given["Content_Type"] = None
    write_to(client.writer, request(verb, target, content, **(given | fields)))
    return await client.response(has_body=verb != "HEAD")


FITTING: list[tuple[str, str, Any, list[str]]] = [
    ("GET", "/orders/7", None, ["7", "False", "()"]),
    ("GET", "/orders/-7", None, ["-7", "False", "()"]),
    ("GET", "/orders/%37", None, ["7", "False", "()"]),
    ("GET", "/orders/7?verbose=true&tags=a&tags=b", None, ["7", "True", "('a', 'b')"]),
    ("GET", "/orders/latest", None, ["'latest'"]),
    ("POST", "/orders", {"name": "tea", "price": 2}, ["Item(name='tea', price=2.0)"]),
    ("PUT", "/orders/7", {"name": "tea", "price": 2}, ["7", "Item(name='tea', price=2.0)"]),
    ("PATCH", "/orders/7", {"name": "tea"}, ["7", "'tea'", "None"]),
    ("PATCH", "/orders/7", {}, ["7", "None", "None"]),
    ("PATCH", "/orders/7", None, ["7", "None", "None"]),
    ("DELETE", "/orders/7", None, ["7", "''"]),
    ("DELETE", "/orders/7?reason=old%20one", None, ["7", "'old one'"]),
    ("POST", "/orders/7/ship", None, ["7"]),
    ("POST", "/orders/7/ship", {}, ["7"]),
    ("POST", "/orders/7/labels", {"words": "new"}, ["7", "Label(text='new')"]),
    ("GET", "/files/a", None, ["'a'"]),
    ("GET", "/files/a/b/c.txt", None, ["'a/b/c.txt'"]),
    ("GET", "/files/a%2Fb/c", None, ["'a/b/c'"]),
    ("GET", "/files/...", None, ["'...'"]),
    (
        "GET",
        f"/by/{ID}/2026-01-31/small",
        None,
        [repr(ID), "datetime.date(2026, 1, 31)", "<Size.SMALL: 'small'>"],
    ),
    ("GET", "/names/Ada", None, ["'Ada'"]),
    ("GET", "/names/a+b", None, ["'a+b'"]),
    ("GET", "/names/a%20b", None, ["'a b'"]),
    ("GET", "/names/a%2Fb", None, ["'a/b'"]),
    ("GET", "/names/%2525", None, ["'%25'"]),
    ("GET", "/names/%C3%B6", None, ["'ö'"]),
    ("GET", "/names/null", None, ["'null'"]),
    ("GET", "/names/7", None, ["'7'"]),
    ("GET", "/names/%22x%22", None, ["'\"x\"'"]),
]


@pytest.mark.parametrize(("verb", "target", "body", "values"), FITTING)
async def test_a_route_calls_its_method(verb: str, target: str, body: Any, values: list[str]) -> None:
    async with serving() as client:
        answer = await asked(client, verb, target, body)
        assert (answer.status, answer.value) == (200, values)


REFUSED: list[tuple[str, str, Any, int]] = [
    ("GET", "/orders/x", None, 400),
    ("GET", "/orders/7.5", None, 400),
    ("GET", "/orders/7,8", None, 400),
    ("GET", "/orders/7%2C%22verbose%22%3Atrue", None, 400),
    ("GET", "/orders/7?id=8", None, 400),
    ("GET", "/orders/7?id=7", None, 400),
    ("GET", "/orders/7?nothing=1", None, 400),
    ("PATCH", "/orders/7", {"id": 8}, 400),
    ("PATCH", "/orders/7", [1], 400),
    ("PATCH", "/orders/7", b'{"name":"a"},"price":1', 400),
    ("PUT", "/orders/7", None, 400),
    ("PUT", "/orders/7", b'{"name":"a","price":1},"id":8,"x":{"y":1}', 400),
    ("PUT", "/orders/7", b"{", 400),
    ("PUT", "/orders/7", {"item": {"name": "tea", "price": 2}}, 400),
    ("POST", "/orders/7/ship", b"{}{}", 400),
    ("POST", "/orders/7/labels", {"text": "new"}, 400),
    ("GET", "/by/x/2026-01-31/small", None, 400),
    ("GET", f"/by/{ID}/2026-13-31/small", None, 400),
    ("GET", f"/by/{ID}/2026-01-31/huge", None, 400),
    ("GET", "/names/%FF", None, 400),
    ("GET", "/orders/", None, 404),
    ("GET", "/orders/7/", None, 404),
    ("GET", "/orders//7", None, 404),
    ("GET", "/Orders/7", None, 404),
    ("GET", "/%6Frders/7", None, 404),
    ("GET", "/orders/7/ship/now", None, 404),
    ("GET", "/files/", None, 404),
    ("GET", "/files/a//b", None, 404),
    ("GET", "/files/../orders", None, 404),
    ("GET", "/files/a/%2e%2E/b", None, 404),
    ("GET", "/names/.", None, 404),
    ("GET", "/names/%2e", None, 404),
    ("GET", "/names/..%2Fa", None, 404),
    ("GET", "/files/a%2f..%2F..%2Fb", None, 404),
    ("GET", "/files/%2Fetc/passwd", None, 404),
    ("POST", "/orders/7", {"id": 7}, 405),
    ("GET", "/orders", None, 405),
    ("GET", "/orders/7/ship", None, 405),
    ("OPTIONS", "/orders/7", None, 405),
    ("TRACE", "/orders/7", None, 405),
]


@pytest.mark.parametrize(("verb", "target", "body", "status"), REFUSED)
async def test_a_request_that_fits_no_route_calls_nothing(
    verb: str, target: str, body: Any, status: int
) -> None:
    orders = Orders()
    async with serving(orders) as client:
        answer = await asked(client, verb, target, body)
    assert (answer.status, orders.called) == (status, [])


IN_BODY = "its arguments are in the body, by name"
ITSELF = "the body is 'item' itself"
QUERIED: list[tuple[str, str, Any, str]] = [
    (
        "PATCH",
        "/orders/7?name=a",
        {"price": 1},
        f"shop.change: 'name': PATCH /orders/{{id}} takes no query: {IN_BODY}",
    ),
    (
        "PATCH",
        "/orders/7?a=1&b&a=2",
        None,
        f"shop.change: 'a', 'b': PATCH /orders/{{id}} takes no query: {IN_BODY}",
    ),
    (
        "POST",
        "/orders?dry=1",
        {"name": "a", "price": 1},
        f"shop.create: 'dry': POST /orders takes no query: {ITSELF}",
    ),
    (
        "PUT",
        "/orders/7?x",
        {"name": "a", "price": 1},
        f"shop.replace: 'x': PUT /orders/{{id}} takes no query: {ITSELF}",
    ),
    ("POST", "/orders/7/ship?x=1", None, "its arguments are in the path"),
    ("POST", "/orders/7/ship?" + "&".join("abcdefg"), None, "shop.ship: 'a', 'b', 'c', 'd', 'e': POST"),
]


@pytest.mark.parametrize(("verb", "target", "body", "text"), QUERIED)
async def test_a_query_is_refused_where_arguments_are_in_the_body(
    verb: str, target: str, body: Any, text: str
) -> None:
    orders = Orders()
    async with serving(orders) as client:
        answer = await asked(client, verb, target, body)
        assert (answer.status, orders.called) == (400, [])
        assert text in answer.value["detail"]
        # An empty query has no arguments, and the connection stays usable.
        fitting = await asked(client, "PATCH", "/orders/7?", {"name": "tea"})
        assert (await asked(client, "PATCH", "/orders/7?&", {"name": "tea"})).value == fitting.value


async def test_a_body_is_refused_where_arguments_are_in_the_query() -> None:
    orders = Orders()
    async with serving(orders) as client:
        answer = await asked(client, "DELETE", "/orders/7", {"reason": "old"})
        assert (answer.status, orders.called) == (400, [])
        assert "shop.delete: DELETE /orders/{id} takes no body" in answer.value["detail"]
        answer = await asked(client, "GET", "/orders/7", b"{}", Content_Length="2")
        assert (answer.status, orders.called) == (400, [])
        assert (await asked(client, "DELETE", "/orders/7")).status == 200


async def test_a_caller_without_a_credential_does_not_learn_why_a_query_or_a_body_is_refused() -> None:
    async with serving(authenticate=StaticTokens(TOKENS)) as client:
        for verb, target in (("PATCH", "/orders/7?name=a"), ("DELETE", "/orders/7")):
            answer = await asked(client, verb, target, {})
            assert (answer.status, "takes no" in answer.value["detail"]) == (401, False)


async def test_a_path_with_other_verbs_names_them() -> None:
    async with serving() as client:
        answer = await asked(client, "POST", "/orders/7", {})
        assert answer["allow"] == "DELETE, GET, HEAD, PATCH, PUT"
        assert (await asked(client, "GET", "/orders"))["allow"] == "POST"


async def test_head_is_get_without_a_body() -> None:
    async with serving() as client:
        answer = await asked(client, "HEAD", "/orders/7")
        assert (answer.status, answer.body) == (200, b"")


async def test_a_body_may_be_msgpack() -> None:
    async with serving() as client:
        item = msgspec.msgpack.encode({"name": "tea", "price": 2.0})
        answer = await asked(client, "PUT", "/orders/7", item, Content_Type="application/msgpack")
        assert msgspec.msgpack.decode(answer.body) == ["7", "Item(name='tea', price=2.0)"]
        large = await asked(client, "PUT", f"/orders/{2**64}", item, Content_Type="application/msgpack")
        assert (large.status, "msgpack has no integer so large" in large.value["detail"]) == (400, True)
        some = msgspec.msgpack.encode({"price": 3.0})
        answer = await asked(client, "PATCH", "/orders/7", some, Content_Type="application/msgpack")
        assert msgspec.msgpack.decode(answer.body) == ["7", "None", "3.0"]
        many = msgspec.msgpack.encode({f"x{at}": at for at in range(20)})
        answer = await asked(client, "PATCH", "/orders/7", many, Content_Type="application/msgpack")
        assert answer.status == 400


@pytest.mark.parametrize("fields", [{"Content_Type": "text/plain"}, {"Content_Encoding": "gzip"}])
async def test_a_body_in_another_form_is_refused(fields: dict[str, str]) -> None:
    async with serving() as client:
        assert (await asked(client, "PATCH", "/orders/7", {"name": "a"}, **fields)).status == 415


async def test_the_refusal_of_a_form_names_every_accepted_type() -> None:
    form = {"Content_Type": "multipart/form-data; boundary=XyZ"}
    async with serving() as client:
        for verb, path, types in [
            (
                "PATCH",
                "/orders/7",
                "application/json, application/msgpack or application/x-www-form-urlencoded",
            ),
            ("POST", "/orders", "application/json or application/msgpack"),
            ("POST", "/shop/change", "application/json or application/msgpack"),
        ]:
            answer = await asked(client, verb, path, b"--XyZ--\r\n", **form)
            assert answer.status == 415
            assert answer.value["detail"].endswith(f"send Content-Type {types}")


async def test_a_route_streams() -> None:
    async with serving() as client:
        answer = await asked(client, "GET", "/numbers/2", Accept="application/x-ndjson")
        assert answer.lines == [{"value": 0}, {"value": 1}, {"end": {"metadata": {}}}]


async def test_mistakes_of_a_route_are_mistakes_of_its_arguments() -> None:
    async with serving() as client:
        answer = await asked(client, "PUT", "/orders/7", {"name": 1, "price": "x"})
        assert [one["path"] for one in answer.value["details"]] == ["item.name", "item.price"]


async def test_metrics_limits_and_the_access_log_see_the_method(caplog: pytest.LogCaptureFixture) -> None:
    def counted() -> int:
        found = [one for one in default_registry if (one.method, one.protocol) == ("named", "http")]
        return sum(one.snapshot()["calls"].get("OK", 0) for one in found)

    caplog.set_level(logging.INFO, "fastrpc.access")
    before = counted()
    limits = [RateLimit(0.001, burst=1, methods="shop.named")]
    async with serving(limits=limits, interceptors=[AccessLog()]) as client:
        assert (await asked(client, "GET", "/names/a")).status == 200
        assert (await asked(client, "GET", "/names/b")).status == 429
        assert (await asked(client, "GET", "/orders/7")).status == 200
    assert counted() == before + 1
    assert "shop.named" in caplog.text
    assert "/names" not in caplog.text


def is_ada(identity: Identity | None, method: str) -> bool:
    return identity is not None and identity.name == "ada"


TOKENS = {"good": Identity("ada"), "plain": Identity("bob")}

#: Spellings of one path, as a caller may try them to come past a rule for it.
_SPELLINGS = r"""
    /orders/7 /orders/7? /orders/7# /orders/7?x /orders/7; /orders/7;a=b /orders/7%00 /orders/7%20
    /orders/7/ /orders/7// /orders//7 //orders/7 ///orders/7 /./orders/7 /orders/./7 /orders/7/.
    /../orders/7 /x/../orders/7 /orders/x/../7 /orders/7/.. /orders/%2e/7 /%2e/orders/7
    /x/%2e%2e/orders/7 /orders/%37 /%6frders/7 /%6Frders/7 /order%73/7 /orders%2f7 /orders%2F7
    /orders%5c7 /orders\7 /orders/7%2f /orders/%2f7 /orders/%252e/7 /orders/%2537 /ORDERS/7 /Orders/7
    /orders/07 /orders/+7 /orders/7.0 /orders/7e0 /orders/%207 /orders/7%0a /orders/7%0d%0a
    /orders/7?id=7 /orders/7&x /orders/7%3f /orders/7%23 /shop.get /shop/get /shop/get/7
    /shop/get?id=7 /shop/Get?id=7 /shop%2fget?id=7 /shop.get?id=7 /shop//get?id=7 /ws/orders/7
    /ws/shop/get /jsonrpc/orders/7 /v1/orders/7 /orders/7/get /orders/{id} /orders/%7Bid%7D /orders/*
"""
SPELLINGS = [spelling for line in _SPELLINGS.splitlines() for spelling in line.split()]


@pytest.mark.parametrize("verb", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"])
async def test_64_spellings_of_a_path_do_not_slip_past_a_policy(verb: str) -> None:
    assert len(set(SPELLINGS)) == 64
    orders = Orders()
    config = ServerConfig(protocols=("native", "http"), http=HTTP(websocket=True, jsonrpc=True))
    rules: dict[str, Any] = {"authenticate": StaticTokens(TOKENS), "authorize": is_ada}
    async with Server(orders, config=config, **rules) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        for target in SPELLINGS:
            for token in (None, "plain"):
                fields = {} if token is None else {"Authorization": f"Bearer {token}"}
                async with await HttpClient.to(address) as client:
                    answer = await asked(client, verb, target, **fields)
                refused = {400, 401, 404, 405} if token is None else {400, 403, 404, 405}
                assert answer.status in refused, target
        assert orders.called == []
        async with await HttpClient.to(address) as client:
            answer = await asked(client, "GET", "/orders/7", Authorization="Bearer good")
        assert (answer.status, orders.called) == (200, [(7, False, ())])


async def test_a_caller_that_may_not_call_the_method_does_not_learn_its_verbs() -> None:
    options: dict[str, Any] = {
        "authenticate": StaticTokens(TOKENS),
        "authorize": is_ada,
    }
    async with serving(**options) as client:
        answer = await asked(client, "POST", "/orders/7", {}, Authorization="Bearer plain")
        assert (answer.status, "allow" in answer) == (403, False)


async def test_a_page_of_an_allowed_origin_may_use_the_verbs_of_routes() -> None:
    origin = "https://shop.example"
    async with serving(http=HTTP(cors_origins=(origin,))) as client:
        answer = await asked(
            client, "OPTIONS", "/orders/7", Origin=origin, Access_Control_Request_Method="DELETE"
        )
        assert answer["access-control-allow-methods"] == "DELETE, GET, HEAD, PATCH, POST, PUT"
        other = await asked(client, "DELETE", "/orders/7", Origin="https://other.example")
        assert other.status == 403


async def test_routes_of_a_service_added_later_are_served() -> None:
    @fastrpc.service("late")
    class Late:
        @fastrpc.method(safe=True, http="GET /late/{x}")
        async def get(self, x: int) -> int:
            return x

    config = ServerConfig(protocols=("native", "http"))
    async with Server(Orders(), config=config) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            assert (await asked(client, "GET", "/late/5")).status == 404
            server.add(Late())
            assert (await asked(client, "GET", "/late/5")).value == 5


@pytest.mark.parametrize(
    ("route", "text"),
    [
        (
            "PUT /orders/{other}",
            r'Orders.replace has http="PUT /orders/\{id\}" and .*Other.f http="PUT /orders/\{other\}"',
        ),
        ("PUT /{other:path}", None),
        (
            "PUT /{other}/7",
            r'Orders.replace has http="PUT /orders/\{id\}" and .*Other.f http="PUT /\{other\}/7"',
        ),
        ("PUT /shop/get", r'Other.f: http="PUT /shop/get" is the path of Orders.get'),
        ("PUT /docs/{other}", r'Other.f: http="PUT /docs/\{other\}" is at the fixed path /docs'),
        ("PUT /ws/{other}", r"is at the fixed path /ws"),
        ("PUT /other/{other}", None),
    ],
)
async def test_routes_that_fit_the_same_paths_are_refused_at_the_start(route: str, text: str | None) -> None:
    @fastrpc.service("other")
    class Other:
        @fastrpc.method(http=route)
        async def f(self, other: str = "") -> None: ...

    server = Server(Orders(), Other(), config=ServerConfig(protocols=("native", "http")))
    if text is None:
        async with server:
            return
    with pytest.raises(ConfigError, match=text):
        async with server:
            pass


async def test_an_error_of_a_route_equals_the_error_of_the_method() -> None:
    @fastrpc.service("failing")
    class Failing:
        @fastrpc.method(safe=True, http="GET /failing/{x}")
        async def get(self, x: int) -> int:
            raise CallError(Status.NOT_FOUND, f"no {x}")

    async with Server(Failing(), config=ServerConfig(protocols=("native", "http"))) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            answer = await asked(client, "GET", "/failing/5")
    assert (answer.status, answer.value["detail"]) == (404, "no 5")
