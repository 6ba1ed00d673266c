"""The description of a service by itself, and the closest name."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import pytest

from fastrpc.rpc.description import describe, nearest_name, signature_text
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import method_definition, service, service_definition


@dataclass(frozen=True)
class User:
    name: str


@service("users", version="1.2")
class Users:
    """Keeps users."""

    @method(idempotent=True, timeout=2)
    async def find(
        self, name: str, /, most: int = 10, *, order: Literal["up", "down"] = "up"
    ) -> list[User] | None:
        """Return those of a name."""

    @method
    def plain(self, value, other=User("x")):  # type: ignore[no-untyped-def]
        ...

    @method
    async def feed(self, users: AsyncIterator[User], strict: bool = False) -> AsyncIterator["User"]:
        async for user in users:
            yield user

    @method
    async def only(self, a: int, /) -> None: ...

    @method
    async def named(self, *, a: int) -> "Hidden": ...  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "find",
            "find(name: str, /, most: int = 10, *, order: Literal['up', 'down'] = 'up') -> list[User] | None",
        ),
        ("plain", "plain(value: Any, other: Any = ...) -> Any"),
        ("feed", "feed(users: AsyncIterator[User], strict: bool = False) -> AsyncIterator[User]"),
        ("only", "only(a: int, /) -> None"),
        ("named", "named(*, a: int) -> Hidden"),
    ],
)
def test_signatures_are_written_as_in_a_program(name: str, text: str) -> None:
    assert signature_text(service_definition(Users).methods[name]) == text


def parameter(name: str, kind: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "required": "default" not in changes,
        "default": None,
        "by_position": True,
        "by_name": True,
        **changes,
    }


def test_a_description_is_plain_data() -> None:
    description = describe(Users())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(description)) == description
    assert (description["name"], description["version"]) == ("users", "1.2")
    assert description["documentation"] == "Keeps users."
    assert [entry["name"] for entry in description["methods"]] == ["find", "plain", "feed", "only", "named"]
    assert description["methods"][0] == {
        "name": "find",
        "full_name": "users.find",
        "alias": [],
        "aliases": [],
        "attribute": "find",
        "kind": "unary",
        "signature": signature_text(method_definition(Users.find)),
        "parameters": [
            parameter("name", "str", by_name=False),
            parameter("most", "int", default="10"),
            parameter("order", "Literal['up', 'down']", default="'up'", by_position=False),
        ],
        "stream": None,
        "renamed": {},
        "result": "list[User] | None",
        "idempotent": True,
        "safe": False,
        "tool": False,
        "http": None,
        "timeout": 2.0,
        "codec": None,
        "documentation": "Return those of a name.",
    }
    assert describe(service_definition(Users)) == describe(Users) == description


class Color(Enum):
    RED = "red"


class Cat(msgspec.Struct, tag=True, rename="camel", forbid_unknown_fields=True):
    long_name: str
    color: Color = Color.RED
    friends: list["Cat"] = []


class Options(TypedDict):
    strict: bool
    cats: NotRequired[dict[str, Cat]]


class Point(NamedTuple):
    x: int
    y: float = 0.5


@dataclass
class Page:
    number: int
    items: list[int] = field(default_factory=list)
    label: str = field(default="x" * 100)
    hidden: int = field(default=3, init=False)


@service("shapes")
class Shapes:
    @method(renamed={"opts": "options"})
    async def draw(self, options: Options, points: list[Point]) -> Page | None: ...

    @method
    async def feed(self, strict: bool, points: AsyncIterator[Point]) -> None: ...


def member(name: str, kind: str, default: str | None = None, wire_name: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "wire_name": wire_name or name,
        "type": kind,
        "required": default is None,
        "default": default,
    }


def test_classes_of_payloads_are_described() -> None:
    types = {one["name"]: one for one in describe(Shapes)["types"]}
    assert set(types) == {"Options", "Point", "Page", "Cat", "Color"}
    assert types["Color"] == {"name": "Color", "kind": "enum", "values": {"RED": "red"}}
    assert types["Options"]["fields"] == [member("strict", "bool"), member("cats", "dict[str, Cat]", "...")]
    assert types["Point"]["fields"] == [member("x", "int"), member("y", "float", "0.5")]
    assert types["Page"]["fields"] == [
        member("number", "int"),
        member("items", "list[int]", "[]"),
        member("label", "str", "..."),
        member("hidden", "int", "3") | {"kw_only": True},
    ]
    assert types["Cat"] == {
        "name": "Cat",
        "kind": "struct",
        "fields": [
            member("long_name", "str", wire_name="longName"),
            member("color", "Color", "Color.RED"),
            member("friends", "list[Cat]", "[]"),
        ],
        "options": {"tag": "Cat", "tag_field": "type", "forbid_unknown_fields": True},
    }


def test_stream_and_old_names_are_described() -> None:
    draw, feed = describe(Shapes)["methods"]
    assert draw["renamed"] == {"opts": "options"}
    assert feed["stream"] == {"name": "points", "type": "Point", "position": 1}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("arith.mull", "arith.mul"),
        ("Arith.Mul", "arith.mul"),
        ("mul", "arith.mul"),
        ("arith.mlu", "arith.mul"),
        ("greeter.helo", "greeter.hello"),
        ("arith.multiply", "arith.mul"),
        ("arith.nope", None),
        ("greeter.", None),
        ("something.else", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_the_nearest_name_is_found(name: str, meant: Any) -> None:
    assert nearest_name(name, ["greeter.hello", "arith.mul", "arith.divide"]) == meant


def test_without_names_there_is_no_nearest_name() -> None:
    assert nearest_name("mul", []) is None
