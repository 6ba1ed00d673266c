"""One call or more of each method of `every_type`, as a typed client makes them."""

import datetime
import decimal
import ipaddress
import pathlib
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

import fastrpc
from fastrpc.types.base import encode_value
from tests.support.every_type import (
    Cat,
    Color,
    Dog,
    EveryType,
    Level,
    Line,
    Money,
    Node,
    Order,
    Page,
    Point,
    Row,
)

__all__ = ["STREAMS", "TYPED_CALLS", "Recorder", "TypedCall", "plain"]

#: The methods that stream their answers.
STREAMS = ("every.type.count", "every.type.talk")

NODE = Node(
    decimal.Decimal("1.50"),
    [Node(decimal.Decimal(2))],
    datetime.datetime(2021, 2, 3, 4, 5, 6, tzinfo=datetime.UTC),
    pathlib.Path("/a b"),
    deque([1, 2]),
    Counter({"ä": 2}),
)


@dataclass
class TypedCall:
    """A call: the method, its arguments by name, and the messages that it takes.

    Attributes:
        chosen: the types that fields with a choice take, by their paths, as the page at `/docs` names the types;
            without one, the first that is not null.
    """

    method: Any
    arguments: dict[str, Any]
    messages: Sequence[Any] | None = None
    chosen: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"every.type.{self.method.__name__}"

    async def made(self, client: fastrpc.Client) -> Any:
        """Make the call and return the answer, or the list of messages, in plain values."""
        given = [] if self.messages is None else [_each(self.messages)]
        if self.name in STREAMS:
            return [plain(one) async for one in client.stream(self.method, *given, **self.arguments)]
        return plain(await client.call(self.method, *given, **self.arguments))


TYPED_CALLS = (
    TypedCall(
        EveryType.plain, {"a": True, "b": 2**63 + 1, "c": 0.25, "d": "line\n'two' <b>", "e": b"\x00\xfe"}
    ),
    TypedCall(EveryType.plain, {"a": False, "b": -7, "c": 1e300, "d": "", "f": None}),
    TypedCall(EveryType.bounded, {"g": 9, "h": "xyz", "i": 2**53, "j": -0.5}),
    TypedCall(
        EveryType.times,
        {
            "at": datetime.datetime(2026, 1, 31, 12, 30, tzinfo=datetime.UTC),
            "on": datetime.date(2026, 1, 31),
            "clock": datetime.time(12, 30),
            "span": datetime.timedelta(hours=1, seconds=1),
            "local": datetime.datetime(2026, 1, 31, 12, 30),  # noqa: DTZ001 (the type has no zone)
            "ids": [uuid.UUID(int=7), uuid.UUID(int=8)],
        },
    ),
    TypedCall(
        EveryType.containers,
        {
            "a": [1, 2],
            "b": (1, "x"),
            "c": (3,),
            "d": {"one"},
            "e": [Color.BLUE, Color.RED],
            "f": deque([Point(1), Point(2, 0.25)]),
            "g": [],
        },
    ),
    TypedCall(
        EveryType.maps,
        {
            "a": {"x y": [1], "": []},
            "b": {-1: "one"},
            "c": {"any": [None, {"deep": 1.5}]},
            "d": Counter({"k": 3}),
        },
    ),
    TypedCall(
        EveryType.classes,
        {
            "node": NODE,
            "options": {"strict": True, "node": NODE},
            "point": Point(1, 2.5),
            "pet": Cat("Tom", [Color.BLUE], datetime.date(2020, 2, 29)),
            "maybe": None,
            "row": Row("k", 0.5),
            "page": Page([NODE], "more"),
        },
        chosen={"pet": "Cat"},
    ),
    TypedCall(
        EveryType.classes,
        {
            "node": Node(decimal.Decimal("-0.1")),
            "options": {"strict": False},
            "point": Point(0),
            "pet": Dog("Rex", b"\xff"),
            "maybe": Cat("Kim"),
            "row": Row("k"),
            "page": Page([]),
        },
        chosen={"pet": "Dog"},
    ),
    *(
        TypedCall(
            EveryType.choices,
            {"numbers": Page([1]), "color": Color.BLUE, "level": Level.HIGH, "kind": "b", "mixed": mixed},
            chosen={"mixed": kind},
        )
        for mixed, kind in ((5, "integer"), ("5", "string"), (None, "null"))
    ),
    TypedCall(
        EveryType.own,
        {
            "path": pathlib.Path("/tmp/a"),
            "address": ipaddress.IPv4Address("10.0.0.1"),
            "network": ipaddress.IPv6Network("fd00::/8"),
            "order": Order(lines=[Line(item="tea", count=2)], parent=Order(lines=[]), remark="soon"),
            "line": Line(item="cup"),
            "money": Money("1 €"),
            "anything": {"a": [1, None]},
        },
    ),
    TypedCall(EveryType.untyped, {"value": [1, "two", None], "other": {"a": 0.5}}),
    TypedCall(EveryType.raw, {"data": b"\x00raw"}),
    TypedCall(EveryType.count, {"limit": 3}),
    TypedCall(EveryType.total, {"start": 4}, [1, 2]),
    TypedCall(EveryType.talk, {}, ["a", "", "'b' ü"]),
    TypedCall(EveryType.nothing, {}),
)


class Recorder:
    """Keeps the arguments of each call that reaches a handler, each with the name of its type."""

    def __init__(self) -> None:
        self.received: list[list[tuple[str, Any]]] = []

    async def __call__(self, call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        self.received.append([(type(one).__name__, plain(one)) for one in call.arguments])
        return await proceed(call)

    def taken(self) -> list[list[tuple[str, Any]]]:
        """Return the messages that arrived since the last time."""
        found, self.received = self.received, []
        return found


def plain(value: Any) -> Any:
    """Return a value as plain values, as JSON has them."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=partial(encode_value, "json")))


async def _each(messages: Sequence[Any]) -> AsyncIterator[Any]:
    for one in messages:
        yield one
