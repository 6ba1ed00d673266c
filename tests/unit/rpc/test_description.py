"""What a service tells about itself, and the name that was meant."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import pytest

from fastrpc.rpc import describe, method, method_definition, nearest_name, service, service_definition
from fastrpc.rpc.description import signature_text


@dataclass
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
    def plain(self, value, other=User("x")):  # type: ignore[no-untyped-def] # noqa: B008
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


def test_a_description_is_plain_data() -> None:
    description = describe(Users())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(description)) == description
    assert (description["name"], description["version"]) == ("users", "1.2")
    assert description["documentation"] == "Keeps users."
    assert [entry["name"] for entry in description["methods"]] == ["find", "plain", "feed", "only", "named"]
    assert description["methods"][0] == {
        "name": "find",
        "full_name": "users.find",
        "kind": "unary",
        "signature": signature_text(method_definition(Users.find)),
        "parameters": [
            {"name": "name", "type": "str", "required": True},
            {"name": "most", "type": "int", "required": False},
            {"name": "order", "type": "Literal['up', 'down']", "required": False},
        ],
        "result": "list[User] | None",
        "idempotent": True,
        "timeout": 2.0,
        "codec": None,
        "documentation": "Return those of a name.",
    }
    assert describe(service_definition(Users)) == describe(Users) == description


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


def test_nothing_is_near_nothing() -> None:
    assert nearest_name("mul", []) is None
