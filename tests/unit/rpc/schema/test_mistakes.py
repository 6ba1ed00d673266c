"""All mistakes in refused arguments: their paths, the types expected and got, and the bounds of the search."""

import collections
import datetime
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import msgspec
import pydantic
import pytest

import fastrpc
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.schema.mistakes import mistakes_in
from fastrpc.rpc.service import service_definition

#: Where it may appear in a body, it may not appear in a mistake.
SECRET = "hunter2-7f3a"

T = TypeVar("T")


class Color(Enum):
    RED = "red"


@dataclass
class Line:
    item: str
    price: float
    color: Color = Color.RED


@dataclass
class Order:
    id: uuid.UUID
    lines: list[Line]
    note: str | None = None
    labels: dict[str, int] = field(default_factory=dict)


class Point(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    pos_x: int
    pos_y: int = 0


class Options(TypedDict):
    depth: Annotated[int, msgspec.Meta(ge=1, le=9)]
    mode: NotRequired[Literal["fast", "slow"]]


class Node(msgspec.Struct):
    value: int
    children: list["Node"] = []


class Page(msgspec.Struct, Generic[T]):
    items: list[T]
    total: int


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


class Seat(pydantic.BaseModel):
    row: Annotated[int, pydantic.Field(ge=1)]
    kind: Literal["aisle", "window"] = "aisle"


class Bird(pydantic.BaseModel):
    kind: Literal["bird"]


class Fish(pydantic.BaseModel):
    kind: Literal["fish"]
    fins: int


@pydantic.dataclasses.dataclass
class Box:
    size: int


class Booking(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str
    mail: Annotated[str, pydantic.Field(alias="eMail", pattern="@")] = "a@b"
    phone: Annotated[str, pydantic.Field(validation_alias=pydantic.AliasChoices("phone", "mobile"))] = ""
    seats: list[Seat] = []
    rooms: Annotated[list[int], pydantic.Field(max_length=2)] = []
    labels: dict[str, int] = {}
    levels: dict[int, int] = {}
    id: uuid.UUID | None = None
    length: int | list[int] = 0
    pet: Annotated[Bird | Fish, pydantic.Field(discriminator="kind")] | None = None
    box: Box | None = None

    @pydantic.field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name == SECRET:
            raise ValueError(f"{name} is taken")
        return name

    @pydantic.model_validator(mode="after")
    def _has_way_back(self) -> "Booking":
        if self.name == "nobody" and self.mail == "@":
            raise ValueError(f"{self.mail} does not answer")
        return self


Bookings = pydantic.RootModel[list[Booking]]


@dataclass
class Trip:
    by: Booking
    others: list[Booking]
    waiting: collections.deque[Seat] = field(default_factory=collections.deque)


@fastrpc.service("shop")
class Shop:
    @fastrpc.method
    async def buy(self, order: Order, count: int = 1) -> None: ...

    @fastrpc.method
    async def draw(self, points: Sequence[Point], size: tuple[int, int], options: Options) -> None: ...

    @fastrpc.method
    async def grow(self, node: Node) -> None: ...

    @fastrpc.method
    async def pages(self, page: Page[Line], more: Mapping[int, Page[int]] | None = None) -> None: ...

    @fastrpc.method
    async def pet(self, animals: list[Cat | Dog], at: datetime.date, tags: set[str] | int) -> None: ...

    @fastrpc.method
    async def sum(self, values: list[float]) -> None: ...

    @fastrpc.method
    async def queue(self, waiting: collections.deque[int], data: bytes) -> None: ...

    @fastrpc.method
    async def book(self, booking: Booking, count: int = 1) -> None: ...

    @fastrpc.method
    async def travel(self, trip: Trip, more: Bookings, last: Seat | None = None) -> None: ...

    @fastrpc.method(renamed={"old": "new"})
    async def moved(self, new: int, other: int) -> None: ...


def method(name: str) -> MethodDefinition:
    return service_definition(Shop).methods[name]


def line(**values: Any) -> dict[str, Any]:
    return {"item": "tea", "price": 1.5} | values


def order(*lines: Any, **values: Any) -> dict[str, Any]:
    return {"id": str(uuid.UUID(int=7)), "lines": list(lines)} | values


def booking(**values: Any) -> dict[str, Any]:
    return {"name": "Ada"} | values


UUID_TYPE, NODE = "UUID", {"value": 1}

BODIES: list[tuple[str, Any, list[tuple[str, str, str]]]] = [
    ("buy", {}, [("order", "Order", "nothing")]),
    ("buy", {"order": None}, [("order", "object", "null")]),
    ("buy", {"order": SECRET}, [("order", "object", "str")]),
    ("buy", {"order": order(), "count": SECRET}, [("count", "int", "str")]),
    ("buy", {"order": order(), "count": 1.5}, [("count", "int", "float")]),
    ("buy", {"order": order(), "cuont": 1}, [("cuont", "nothing", "int")]),
    ("buy", {"order": order(id=SECRET)}, [("order.id", UUID_TYPE, "str")]),
    ("buy", {"order": order(lines={})}, [("order.lines", "array", "object")]),
    ("buy", {"order": order(line(), line(), line(price=SECRET))}, [("order.lines[2].price", "float", "str")]),
    ("buy", {"order": order(line(color=SECRET))}, [("order.lines[0].color", "Color", "str")]),
    (
        "buy",
        {"order": order({})},
        [("order.lines[0].item", "str", "nothing"), ("order.lines[0].price", "float", "nothing")],
    ),
    (
        "buy",
        {"order": order(5, line(), [])},
        [("order.lines[0]", "object", "int"), ("order.lines[2]", "object", "array")],
    ),
    ("buy", {"order": order(note=7)}, [("order.note", "str | null", "int")]),
    ("buy", {"order": order(labels={SECRET: "x", "b": 1})}, [("order.labels[...]", "int", "str")]),
    (
        "buy",
        {"order": order(line(item=1), id=2, note=[]), "count": "3"},
        [
            ("order.id", "uuid", "int"),
            ("order.lines[0].item", "str", "int"),
            ("order.note", "str | null", "array"),
            ("count", "int", "str"),
        ],
    ),
    (
        "draw",
        {},
        [
            ("points", "Sequence[Point]", "nothing"),
            ("size", "tuple[int, int]", "nothing"),
            ("options", "Options", "nothing"),
        ],
    ),
    (
        "draw",
        {"points": [{"posX": "1"}], "size": [1, 2], "options": {"depth": 3}},
        [("points[0].posX", "int", "str")],
    ),
    (
        "draw",
        {"points": [{"pos_x": 1}], "size": [1, 2], "options": {"depth": 3}},
        [("points[0].posX", "int", "nothing")],
    ),
    (
        "draw",
        {"points": [{"posX": 1, "z": SECRET}], "size": [1, 2], "options": {"depth": 3}},
        [("points[0].z", "nothing", "a value")],
    ),
    ("draw", {"points": [], "size": [1], "options": {"depth": 3}}, [("size", "array of length 2", "array")]),
    ("draw", {"points": [], "size": [1, "2"], "options": {"depth": 3}}, [("size[1]", "int", "str")]),
    ("draw", {"points": [], "size": [1, 2], "options": {"depth": 0}}, [("options.depth", "int >= 1", "int")]),
    (
        "draw",
        {"points": [], "size": [1, 2], "options": {"mode": SECRET}},
        [("options.depth", "int", "nothing"), ("options.mode", "Literal['fast', 'slow']", "str")],
    ),
    (
        "grow",
        {"node": {"value": 1, "children": [NODE, {"value": "x", "children": [{}]}]}},
        [("node.children[1].value", "int", "str"), ("node.children[1].children[0].value", "int", "nothing")],
    ),
    (
        "pages",
        {"page": {"items": [line(), line(price=None)], "total": "2"}},
        [("page.items[1].price", "float", "null"), ("page.total", "int", "str")],
    ),
    (
        "pages",
        {"page": {"items": [], "total": 0}, "more": {"1": {"items": ["a"], "total": 1}}},
        [("more[...].items[0]", "int", "str")],
    ),
    (
        "pet",
        {"animals": [{"type": "Cat", "lives": "9"}], "at": "2026-01-31", "tags": 1},
        [("animals[0].lives", "int", "str")],
    ),
    (
        "pet",
        {"animals": [{"type": SECRET}], "at": SECRET, "tags": [1]},
        [
            ("animals[0].type", "another value", "another value"),
            ("at", "date", "str"),
            ("tags[0]", "str", "int"),
        ],
    ),
    ("queue", {"waiting": [1, "2"], "data": "%"}, [("waiting[1]", "int", "str"), ("data", "bytes", "str")]),
    ("moved", {"old": "1"}, [("new", "int", "str"), ("other", "int", "nothing")]),
    ("sum", {"values": ["a"] * 60}, [(f"values[{at}]", "float", "str") for at in range(50)]),
    ("sum", [1], []),
    ("book", {"booking": SECRET}, [("booking", "a valid dictionary or instance of Booking", "str")]),
    (
        "book",
        {"booking": {}, "count": "1"},
        [("booking.name", "a value", "nothing"), ("count", "int", "str")],
    ),
    (
        "book",
        {"booking": booking(name=5, eMail=SECRET, seats=[{"row": 0}, {"kind": SECRET}], more=SECRET)},
        [
            ("booking.name", "a valid string", "int"),
            ("booking.eMail", "String should match pattern '@'", "str"),
            ("booking.seats[0].row", "greater than or equal to 1", "int"),
            ("booking.seats[1].row", "a value", "nothing"),
            ("booking.seats[1].kind", "'aisle' or 'window'", "str"),
            ("booking.more", "nothing", "str"),
        ],
    ),
    ("book", {"booking": booking(name=SECRET)}, [("booking.name", "another value", "str")]),
    ("book", {"booking": booking(name="nobody", eMail="@")}, [("booking", "another value", "object")]),
    ("book", {"booking": booking(mobile=1)}, [("booking.mobile", "a valid string", "int")]),
    (
        "book",
        {"booking": booking(rooms=[1] * 3)},
        [("booking.rooms", "List should have at most 2 items after validation, not 3", "array")],
    ),
    (
        "book",
        {"booking": booking(labels={SECRET: "x"}, levels={SECRET: 1})},
        [
            ("booking.labels[...]", "a valid integer", "str"),
            ("booking.levels[...]", "a valid integer", "str"),
        ],
    ),
    ("book", {"booking": booking(id=SECRET)}, [("booking.id", "a valid UUID", "str")]),
    (
        "book",
        {"booking": booking(length=SECRET)},
        [("booking.length", "a valid integer or a valid list", "str")],
    ),
    (
        "book",
        {"booking": booking(length=[1, None])},
        [("booking.length", "a valid integer", "array"), ("booking.length[1]", "a valid integer", "null")],
    ),
    (
        "book",
        {"booking": booking(pet={"kind": SECRET})},
        [("booking.pet", "one of 'bird', 'fish' by its 'kind'", "object")],
    ),
    ("book", {"booking": booking(pet={"kind": "fish"})}, [("booking.pet.fins", "a value", "nothing")]),
    ("book", {"booking": booking(box={"size": SECRET})}, [("booking.box.size", "a valid integer", "str")]),
    (
        "travel",
        {
            "trip": {"by": {}, "others": [booking(), booking(name=1, seats=5)], "waiting": [{}, {"row": 0}]},
            "more": [{}, booking(name=2)],
            "last": {"row": 1.5},
        },
        [
            ("trip.by.name", "a value", "nothing"),
            ("trip.others[1].name", "a valid string", "int"),
            ("trip.others[1].seats", "a valid list", "int"),
            ("trip.waiting[0].row", "a value", "nothing"),
            ("more[0].name", "a value", "nothing"),
            ("more[1].name", "a valid string", "int"),
            ("last.row", "a valid integer", "float"),
        ],
    ),
    (
        "book",
        {"booking": booking(seats=[{"row": 0}] * 60)},
        [(f"booking.seats[{at}].row", "greater than or equal to 1", "int") for at in range(50)],
    ),
]


def found(name: str, body: Any, codec: str = "json") -> list[tuple[str, str, str]]:
    payload = json.dumps(body).encode() if codec == "json" else msgspec.msgpack.encode(body)
    return [(one["path"], one["expected"], one["got"]) for one in mistakes_in(method(name), codec, payload)]


@pytest.mark.parametrize(("name", "body", "mistakes"), BODIES)
def test_every_mistake_of_a_body_is_found(name: str, body: Any, mistakes: list[tuple[str, str, str]]) -> None:
    assert found(name, body) == mistakes
    assert SECRET not in json.dumps(found(name, body))


@pytest.mark.parametrize(
    ("name", "body", "mistakes"), [case for case in BODIES if case[0] in {"buy", "sum", "grow", "book"}]
)
def test_the_same_mistakes_are_found_in_msgpack(
    name: str, body: Any, mistakes: list[tuple[str, str, str]]
) -> None:
    assert found(name, body, "msgpack") == mistakes


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "bool"),
        (-1, "int"),
        (2**40, "int"),
        (1.5, "float"),
        ("a" * 40, "str"),
        ([1] * 20, "array"),
    ],
)
@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_types_are_named_alike_in_both_codecs(value: object, name: str, codec: str) -> None:
    assert found("buy", {"order": value}, codec) == [("order", "object", name)]


def test_arguments_without_a_mistake_have_none() -> None:
    assert found("buy", {"order": order(line()), "count": 2}) == []
    assert found("moved", {"old": "9007199254740993", "other": 1}) == []


def test_of_a_list_beyond_the_bound_the_first_mistake_is_found() -> None:
    values: list[object] = [1.5] * 20_000
    values[12_000] = values[15_000] = SECRET
    assert found("sum", {"values": values}) == [("values[12000]", "float", "str")]


def test_of_a_model_with_a_thousand_mistakes_the_place_is_found() -> None:
    body = {"booking": booking(seats=[{"row": 0}] * 1001), "count": "1"}
    assert found("book", body) == [("booking", "Booking", "object"), ("count", "int", "str")]


@pytest.mark.measures
@pytest.mark.parametrize("is_deep", [False, True])
def test_16_mebibytes_of_mistakes_take_at_most_half_as_long_as_decoding_as_much(is_deep: bool) -> None:
    count = 16 * 2**20 // (80 if is_deep else 17)
    if is_deep:
        good: Any = {"order": order(*[line(item="x" * 50) for _ in range(count)])}
        wrong: Any = {"order": order(*[line(item="x" * 48, price="a") for _ in range(count)])}
    else:
        good = {"values": [at / 7 + 1000 for at in range(count)]}
        wrong = {"values": [f"{at:014d}" for at in range(count)]}
    name = "buy" if is_deep else "sum"
    kind = dict[str, Order] if is_deep else dict[str, list[float]]
    payload, valid = json.dumps(wrong).encode(), json.dumps(good).encode()
    decode = msgspec.json.Decoder(kind).decode

    def seconds(action: Any) -> float:
        started = time.process_time()
        action()
        return time.process_time() - started

    decoded = min(seconds(lambda: decode(valid)) for _ in range(5))
    searched = min(seconds(lambda: mistakes_in(method(name), "json", payload)) for _ in range(5))
    assert searched <= 0.5 * decoded
