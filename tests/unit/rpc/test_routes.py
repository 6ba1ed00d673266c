"""Templates of routes: their syntax, their fit to a method, and templates for the same paths."""

import datetime
import decimal
import uuid
from collections.abc import AsyncIterator
from enum import Enum
from typing import Any, Literal, Protocol

import pydantic
import pytest

import fastrpc
from fastrpc.errors import ConfigError
from fastrpc.rpc.description import describe
from fastrpc.rpc.marshals import check_service
from fastrpc.rpc.route_types import whole_body_of
from fastrpc.rpc.routes import parsed_route, together
from fastrpc.rpc.service import method_definition, service_definition


@pytest.mark.parametrize(
    ("text", "names", "has_body"),
    [
        ("GET /orders", (), False),
        ("GET /orders/{id}", ("id",), False),
        ("DELETE /orders/{id}/lines/{line}", ("id", "line"), False),
        ("POST /v1/orders", (), True),
        ("PUT /files/{path:path}", ("path",), True),
        ("PATCH /a.b-c~d_e/{x}/@me", ("x",), True),
        ("GET /{x}", ("x",), False),
        ("GET /{x:path}", ("x",), False),
    ],
)
def test_a_route_is_a_verb_and_a_template(text: str, names: tuple[str, ...], has_body: bool) -> None:
    route = parsed_route(text)
    assert (str(route), route.names, route.has_body) == (text, names, has_body)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET",
        "/orders",
        "get /orders",
        "HEAD /orders",
        "OPTIONS /orders",
        "GET orders",
        "GET  /orders",
        "GET /",
        "GET //orders",
        "GET /orders/",
        "GET /orders//{id}",
        "GET /orders/{id}/",
        "GET /orders/./a",
        "GET /orders/../a",
        "GET /orders/{}",
        "GET /orders/{id",
        "GET /orders/a{id}",
        "GET /orders/{id}.json",
        "GET /orders/{id:int}",
        "GET /orders/{1d}",
        "GET /orders/{id}/{id}",
        "GET /files/{path:path}/x",
        "GET /or%64ers",
        "GET /orders?x=1",
        "GET /orders#x",
        "GET /ör",
        "GET /a b",
    ],
)
def test_other_texts_are_no_routes(text: str) -> None:
    with pytest.raises(ConfigError, match="http is "):
        parsed_route(text)


def test_a_route_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match=r"http is 5, it must be a text"):
        fastrpc.method(http=5)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("one", "other", "are_together"),
    [
        ("GET /a/{x}", "GET /a/{y}", True),
        ("GET /a/{x}", "POST /a/{y}", False),
        ("GET /a/{x}", "GET /a/b", False),
        ("GET /a/{x}", "GET /b/{x}", False),
        ("GET /a/{x}", "GET /a/{x}/c", False),
        ("GET /a/{x}", "GET /{y}/b", True),
        ("GET /a/{x}", "GET /{y}/{z}", False),
        ("GET /a/b/{x}", "GET /a/{y}/c", True),
        ("GET /a/{x:path}", "GET /a/{y}", False),
        ("GET /a/{x:path}", "GET /a/{y:path}", True),
        ("GET /a/{x:path}", "GET /a/b/{y:path}", False),
        ("GET /a/{x:path}", "GET /{y}/b/c", True),
        ("GET /a/{x:path}", "GET /b/c", False),
        ("GET /a/{x:path}", "GET /a", False),
        ("GET /{x:path}", "GET /a/{y}/c", False),
        ("GET /a/b", "GET /a/b", True),
    ],
)
def test_routes_are_together_if_a_path_fits_both_and_neither_is_more_special(
    one: str, other: str, are_together: bool
) -> None:
    assert together(parsed_route(one), parsed_route(other)) is are_together
    assert together(parsed_route(other), parsed_route(one)) is are_together


def test_a_get_of_a_method_that_is_not_safe_is_refused_at_decoration() -> None:
    with pytest.raises(TypeError, match=r'http="GET /x" needs a method that changes nothing: add safe=True'):

        class Refused:
            @fastrpc.method(http="GET /x")
            async def f(self) -> None: ...


def test_parameters_of_a_template_are_parameters_of_the_method() -> None:
    with pytest.raises(TypeError, match=r"'id' is not a parameter: it has name"):

        class Unknown:
            @fastrpc.method(http="PUT /x/{id}")
            async def f(self, name: str) -> None: ...

    with pytest.raises(TypeError, match=r"'id' is given only by position"):

        class Positional:
            @fastrpc.method(http="PUT /x/{id}")
            async def f(self, id: str, /) -> None: ...


def test_a_method_that_takes_a_stream_has_no_route() -> None:
    with pytest.raises(TypeError, match=r"takes the stream 'lines', which has no route"):

        class Refused:
            @fastrpc.method(http="POST /x")
            async def f(self, lines: AsyncIterator[str]) -> None: ...


class Color(Enum):
    RED = "red"


@pytest.mark.parametrize(
    "kind",
    [
        str,
        int,
        float,
        bool,
        uuid.UUID,
        decimal.Decimal,
        datetime.date,
        datetime.datetime,
        Color,
        Literal["a", "b"],
    ],
)
def test_texts_and_numbers_are_parts_of_a_path(kind: Any) -> None:
    @fastrpc.service("s")
    class Taken:
        @fastrpc.method(http="PUT /x/{id}")
        async def f(self, id: kind) -> None: ...

    check_service(service_definition(Taken))


@pytest.mark.parametrize(
    "kind", [list[int], dict[str, int], str | None, int | str | None, Any, tuple[int, int]]
)
def test_other_types_are_not(kind: Any) -> None:
    @fastrpc.service("s")
    class Refused:
        @fastrpc.method(http="PUT /x/{id}")
        async def f(self, id: kind) -> None: ...

    with pytest.raises(ConfigError, match=r"'id' is .*, which is not part of a path"):
        check_service(service_definition(Refused))


class Item(pydantic.BaseModel):
    name: str


class Taken(pydantic.BaseModel):
    name: str = pydantic.Field(validation_alias=pydantic.AliasChoices("name", "title"))


class Given(pydantic.BaseModel):
    name: str = pydantic.Field(serialization_alias="title")


class Prices(pydantic.RootModel[dict[str, int]]): ...


@pytest.mark.parametrize(
    ("kind", "whole"),
    [(Item, "item"), (Taken, "item"), (Given, "item"), (Given | None, "item"), (Prices, None)],
)
def test_a_model_with_fields_is_a_whole_body_with_any_aliases(kind: Any, whole: str | None) -> None:
    @fastrpc.service("s")
    class Put:
        @fastrpc.method(http="PUT /x/{id}")
        async def f(self, id: int, item: kind) -> None: ...

    assert whole_body_of(service_definition(Put).methods["f"], parsed_route("PUT /x/{id}")) == whole


@fastrpc.service("shop")
class Shop(Protocol):
    @fastrpc.method(safe=True, http="GET /items/{item}")
    async def price(self, item: str) -> float: ...

    @fastrpc.method
    async def put(self, item: str) -> None: ...


def test_an_implementation_has_the_routes_of_its_contract() -> None:
    @fastrpc.service("shop")
    class Derived(Shop):
        async def price(self, item: str) -> float:
            return 1.0

    assert str(service_definition(Derived).methods["price"].options.http) == "GET /items/{item}"


def test_a_route_is_described() -> None:
    assert str(method_definition(Shop.price).options.http) == "GET /items/{item}"
    assert [one["http"] for one in describe(Shop)["methods"]] == ["GET /items/{item}", None]
