"""Arguments with mistakes, and the mistakes in them: a service that takes them, and a secret in each."""

import collections
import datetime
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import msgspec
import pydantic

import fastrpc

__all__ = ["BODIES", "SECRET", "Order", "Shop", "booking", "line", "order", "without_own_words"]

#: Each body has this secret: in a wrong value, in a right one, or in a key of one. Answers and logs show it only in
#: the words of validators, and `details` never.
SECRET = "hunter2-7f3a"

#: The words of validators that quote a value: they are the program's.
OWN_WORDS = (f"{SECRET} is taken", f"expected an even number, got {SECRET}")

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


@dataclass
class Even:
    """Has a validator whose words look like the words of msgspec."""

    digits: str

    def __post_init__(self) -> None:
        if self.digits[-1] not in "02468":
            raise ValueError(f"expected an even number, got {self.digits}")


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

    @fastrpc.method
    async def halve(self, numbers: list[Even], count: int = 1) -> None: ...

    @fastrpc.method(renamed={"old": "new"})
    async def moved(self, new: int, other: int) -> None: ...


def without_own_words(text: str) -> str:
    """Return an answer, or a log text, without the words of validators."""
    for words in OWN_WORDS:
        text = text.replace(words, "")
    return text


def line(**values: Any) -> dict[str, Any]:
    return {"item": SECRET, "price": 1.5} | values


def order(*lines: Any, **values: Any) -> dict[str, Any]:
    known = {"id": str(uuid.UUID(int=7)), "note": SECRET, "labels": {SECRET: 1}}
    return known | {"lines": list(lines)} | values


def booking(**values: Any) -> dict[str, Any]:
    return {"name": "Ada", "eMail": f"{SECRET}@b"} | values


UUID_TYPE, NODE = "UUID", {"value": 1}

BODIES: list[tuple[str, Any, list[tuple[str, str, str]]]] = [
    ("buy", {"count": SECRET}, [("order", "Order", "nothing"), ("count", "int", "str")]),
    ("buy", {"order": None, "count": SECRET}, [("order", "object", "null"), ("count", "int", "str")]),
    ("buy", {"order": SECRET}, [("order", "object", "str")]),
    ("buy", {"order": order(), "count": SECRET}, [("count", "int", "str")]),
    ("buy", {"order": order(), "count": 1.5}, [("count", "int", "float")]),
    ("buy", {"order": order(), "cuont": SECRET}, [("cuont", "nothing", "str")]),
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
    ("buy", {"order": order(labels={SECRET: SECRET, "b": 1})}, [("order.labels[...]", "int", "str")]),
    (
        "buy",
        {"order": order(line(item=1), id=2, note=[]), "count": SECRET},
        [
            ("order.id", "uuid", "int"),
            ("order.lines[0].item", "str", "int"),
            ("order.note", "str | null", "array"),
            ("count", "int", "str"),
        ],
    ),
    (
        "draw",
        {"sized": SECRET},
        [
            ("sized", "nothing", "str"),
            ("points", "Sequence[Point]", "nothing"),
            ("size", "tuple[int, int]", "nothing"),
            ("options", "Options", "nothing"),
        ],
    ),
    (
        "draw",
        {"points": [{"posX": SECRET}], "size": [1, 2], "options": {"depth": 3}},
        [("points[0].posX", "int", "str")],
    ),
    (
        "draw",
        {"points": [{"pos_x": SECRET}], "size": [1, 2], "options": {"depth": 3}},
        [("points[0].posX", "int", "nothing")],
    ),
    (
        "draw",
        {"points": [{"posX": 1, "z": SECRET}], "size": [1, 2], "options": {"depth": 3}},
        [("points[0].z", "nothing", "a value")],
    ),
    (
        "draw",
        {"points": [], "size": [1], "options": {"depth": 3, "mode": SECRET}},
        [("size", "array of length 2", "array"), ("options.mode", "Literal['fast', 'slow']", "str")],
    ),
    ("draw", {"points": [], "size": [1, SECRET], "options": {"depth": 3}}, [("size[1]", "int", "str")]),
    (
        "draw",
        {"points": [], "size": [1, 2], "options": {"depth": 0, "mode": SECRET}},
        [("options.depth", "int >= 1", "int"), ("options.mode", "Literal['fast', 'slow']", "str")],
    ),
    (
        "draw",
        {"points": [], "size": [1, 2], "options": {"mode": SECRET}},
        [("options.depth", "int", "nothing"), ("options.mode", "Literal['fast', 'slow']", "str")],
    ),
    (
        "grow",
        {"node": {"value": 1, "children": [NODE, {"value": SECRET, "children": [{}]}]}},
        [("node.children[1].value", "int", "str"), ("node.children[1].children[0].value", "int", "nothing")],
    ),
    (
        "pages",
        {"page": {"items": [line(), line(price=None)], "total": SECRET}},
        [("page.items[1].price", "float", "null"), ("page.total", "int", "str")],
    ),
    (
        "pages",
        {"page": {"items": [], "total": 0}, "more": {"1": {"items": [SECRET], "total": 1}}},
        [("more[...].items[0]", "int", "str")],
    ),
    (
        "pet",
        {"animals": [{"type": "Cat", "lives": SECRET}], "at": "2026-01-31", "tags": 1},
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
    (
        "queue",
        {"waiting": [1, SECRET], "data": "%"},
        [("waiting[1]", "int", "str"), ("data", "bytes", "str")],
    ),
    ("moved", {"old": SECRET}, [("new", "int", "str"), ("other", "int", "nothing")]),
    (
        "halve",
        {"numbers": [{"digits": "2"}, {"digits": SECRET}], "count": SECRET},
        [("numbers[1]", "Even", "object"), ("count", "int", "str")],
    ),
    (
        "halve",
        {"numbers": [{"digits": "2" * 2**20}, {"digits": SECRET}], "count": SECRET},
        [("numbers[1]", "another value", "another value"), ("count", "int", "str")],
    ),
    ("sum", {"values": [SECRET] * 60}, [(f"values[{at}]", "float", "str") for at in range(50)]),
    ("sum", [SECRET], []),
    ("book", {"booking": SECRET}, [("booking", "a valid dictionary or instance of Booking", "str")]),
    (
        "book",
        {"booking": {}, "count": SECRET},
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
    (
        "book",
        {"booking": booking(name="nobody", eMail="@", phone=SECRET)},
        [("booking", "another value", "object")],
    ),
    ("book", {"booking": booking(mobile=1)}, [("booking.mobile", "a valid string", "int")]),
    (
        "book",
        {"booking": booking(rooms=[1] * 3)},
        [("booking.rooms", "List should have at most 2 items after validation, not 3", "array")],
    ),
    (
        "book",
        {"booking": booking(labels={SECRET: SECRET}, levels={SECRET: 1})},
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
