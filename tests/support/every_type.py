"""A service whose methods use every payload type, for documents that describe it."""

import datetime
import decimal
import enum
import ipaddress
import pathlib
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import msgspec
import numpy
import pydantic

import fastrpc
from fastrpc.types import register

__all__ = ["Cat", "Color", "Dog", "EveryType", "Line", "Money", "Node", "Order", "Page", "Point", "Row"]

T = TypeVar("T")
UserID = NewType("UserID", int)
Small = Annotated[int, msgspec.Meta(ge=1, le=9, description="A digit.")]
Code = Annotated[str, msgspec.Meta(min_length=2, max_length=4, pattern="^[a-z]+$")]


class Color(enum.Enum):
    """The colour of a thing."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Node:
    """A node of a tree."""

    value: decimal.Decimal
    children: "list[Node]" = field(default_factory=list)
    made: datetime.datetime = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    place: pathlib.Path = pathlib.Path("/srv")
    last: deque[int] = field(default_factory=deque)
    counts: "Counter[str] | None" = None


class Options(TypedDict):
    strict: bool
    node: NotRequired[Node]


class Point(NamedTuple):
    x: int
    y: float = 0.5


class Cat(msgspec.Struct, tag=True, rename="camel", forbid_unknown_fields=True):
    long_name: str
    colors: list[Color] = []
    born_on: datetime.date | None = None


class Dog(msgspec.Struct, tag=True):
    name: str
    data: bytes = b"woof"


class Row(msgspec.Struct, array_like=True):
    key: str
    weight: float = 1.0


@dataclass
class Page(Generic[T]):
    items: list[T]
    next: str | None = None


class Line(pydantic.BaseModel):
    item: str
    count: int = 1


class Order(pydantic.BaseModel):
    """The goods of an order."""

    lines: list[Line]
    parent: "Order | None" = None
    note: str = pydantic.Field(default="", alias="remark")


class Money:
    """An amount that travels as text."""

    def __init__(self, text: str) -> None:
        self.text = text


register(Money, encode=lambda money: money.text, decode=Money)


@fastrpc.service("every.type", version="2.1")
class EveryType:
    """Takes and gives every type."""

    @fastrpc.method(safe=True)
    async def plain(
        self,
        a: bool,
        b: int,
        c: float,
        d: str,
        e: bytes = b"\x00\xff",
        f: None = None,
    ) -> str:
        """Take plain values.

        The rest of the text.
        """
        return d

    @fastrpc.method(safe=True)
    async def bounded(
        self, g: Small = 3, h: Code = "ab", i: UserID = UserID(7), j: float = float("inf")
    ) -> None: ...

    @fastrpc.method(safe=True)
    async def times(
        self,
        at: datetime.datetime,
        on: datetime.date,
        clock: datetime.time,
        span: datetime.timedelta,
        local: Annotated[datetime.datetime, msgspec.Meta(tz=False)],
        ids: list[uuid.UUID],
    ) -> decimal.Decimal | None:
        return None

    @fastrpc.method
    async def containers(
        self,
        a: list[int],
        b: tuple[int, str],
        c: tuple[int, ...],
        d: set[str],
        e: Sequence[Color],
        f: deque[Point],
        g: Annotated[list[int], msgspec.Meta(max_length=3)],
    ) -> dict[str, Node]:
        return {}

    @fastrpc.method
    async def maps(
        self, a: dict[str, list[int]], b: dict[int, str], c: Mapping[str, Any], d: "Counter[str]"
    ) -> Mapping[str, int]:
        return {}

    @fastrpc.method
    async def classes(
        self,
        node: Node,
        options: Options,
        point: Point,
        pet: Cat | Dog,
        maybe: Cat | None,
        row: Row,
        page: Page[Node],
    ) -> Cat | Dog:
        return Cat("x")

    @fastrpc.method
    async def choices(
        self,
        numbers: Page[int],
        color: Color = Color.RED,
        level: Level = Level.LOW,
        kind: Literal["a", "b"] = "a",
        mixed: int | str | None = None,
    ) -> Color:
        return color

    @fastrpc.method
    async def own(
        self,
        path: pathlib.Path,
        address: ipaddress.IPv4Address,
        network: ipaddress.IPv6Network,
        order: Order,
        line: Line,
        money: Money,
        anything: Any,
    ) -> list[Order]:
        return []

    @fastrpc.method
    async def untyped(self, value, other=None):  # type: ignore[no-untyped-def]
        return value

    @fastrpc.method(codec="raw")
    async def raw(self, data: bytes) -> bytes:
        return data

    @fastrpc.method
    async def array(self, values: numpy.ndarray[Any, Any]) -> int:
        return 0

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[Node]:
        yield Node(decimal.Decimal(limit))

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int], start: int = 0) -> int:
        return start

    @fastrpc.method
    async def talk(self, texts: AsyncIterator[str]) -> AsyncIterator[str]:
        async for text in texts:
            yield text

    @fastrpc.method
    async def nothing(self) -> None: ...
