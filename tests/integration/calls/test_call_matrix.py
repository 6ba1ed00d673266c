"""Calls over every transport, loop, codec and compressor."""

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import msgspec
import pytest

import fastrpc
from fastrpc.compressors.base import compressor_numbers
from tests.support.people import person_class
from tests.support.served import SCHEMES, served

pytestmark = pytest.mark.one_loop

T = TypeVar("T")

TEXT = "What is repeated can be said in fewer words. " * 2_000


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Point(msgspec.Struct):
    x: int
    y: float = 0.5


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Square(msgspec.Struct, tag="square"):
    side: float


class Page(msgspec.Struct, Generic[T]):
    items: list[T]
    following: int | None = None


@dataclass
class Person:
    name: str
    born: datetime.date
    friends: "list[Person]" = field(default_factory=list)


class Order(TypedDict):
    number: int
    colour: Colour
    note: NotRequired[str]


@fastrpc.service("types")
class Types:
    @fastrpc.method
    async def scalars(self, a: int, b: float, c: str, d: bytes, e: bool, f: None) -> list[Any]:
        return [a, b, c, d, e, f]

    @fastrpc.method
    async def struct(self, value: Point) -> Point:
        assert type(value) is Point
        return value

    @fastrpc.method
    async def dataclass(self, value: Person) -> Person:
        assert type(value.friends[0]) is Person
        return value

    @fastrpc.method
    async def typed_dict(self, value: Order) -> Order:
        assert type(value["colour"]) is Colour
        return value

    @fastrpc.method
    async def enums(self, one: Colour, two: Size) -> tuple[Colour, Size]:
        assert type(one) is Colour
        assert type(two) is Size
        return one, two

    @fastrpc.method
    async def times(
        self, moment: datetime.datetime, day: datetime.date, length: datetime.timedelta
    ) -> tuple[datetime.datetime, datetime.date, datetime.timedelta]:
        return moment, day, length

    @fastrpc.method
    async def numbers(
        self, identifier: uuid.UUID, price: decimal.Decimal
    ) -> tuple[uuid.UUID, decimal.Decimal]:
        return identifier, price

    @fastrpc.method
    async def union(self, value: Circle | Square | int | None) -> Circle | Square | int | None:
        return value

    @fastrpc.method
    async def generic(self, page: Page[Point]) -> Page[dict[str, tuple[int, ...]]]:
        assert type(page.items[0]) is Point
        return Page([{"points": tuple(point.x for point in page.items)}], page.following)

    @fastrpc.method
    async def literal(self, value: Literal["a", "b", 3]) -> Literal["a", "b", 3]:
        return value

    @fastrpc.method
    async def collections(
        self, a: set[int], b: frozenset[str], c: dict[int, list[str]]
    ) -> dict[int, list[str]]:
        assert a == {1, 2}
        assert b == frozenset({"x"})
        return c

    @fastrpc.method
    async def plain(self, value):  # type: ignore[no-untyped-def]
        return value


@fastrpc.service("large")
class Large:
    @fastrpc.method
    async def page(self, page: Page[str]) -> Page[str]:
        return page

    @fastrpc.method(codec="raw")
    async def raw(self, data: bytes) -> bytes:
        return data


PERSON = Person("Ada", datetime.date(1815, 12, 10), [Person("Charles", datetime.date(1791, 12, 26))])
MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 1, 250_000, tzinfo=datetime.UTC)

#: Method, arguments, result.
EXCHANGES: tuple[tuple[Any, tuple[Any, ...], Any], ...] = (
    (Types.struct, (Point(3),), Point(3, 0.5)),
    (Types.dataclass, (PERSON,), PERSON),
    (Types.typed_dict, ({"number": 7, "colour": Colour.BLUE},), {"number": 7, "colour": Colour.BLUE}),
    (Types.enums, (Colour.RED, Size.LARGE), (Colour.RED, Size.LARGE)),
    (Types.times, (MOMENT, MOMENT.date(), datetime.timedelta(days=1, seconds=2)), None),
    (Types.numbers, (uuid.UUID(int=5), decimal.Decimal("1.10")), None),
    (Types.union, (Circle(2.0),), Circle(2.0)),
    (Types.union, (Square(3.0),), Square(3.0)),
    (Types.union, (2**63,), 2**63),
    (Types.union, (None,), None),
    (Types.generic, (Page([Point(1), Point(2)], 9),), Page([{"points": (1, 2)}], 9)),
    (Types.literal, ("b",), "b"),
    (Types.literal, (3,), 3),
    (Types.collections, ({1, 2}, frozenset({"x"}), {5: ["five"]}), {5: ["five"]}),
    (Types.plain, ([1, "two", None, {"three": 4.5}],), [1, "two", None, {"three": 4.5}]),
)

each_scheme = pytest.mark.parametrize("scheme", SCHEMES)
each_compressor = pytest.mark.parametrize("compressor", [None, "gzip", "lz4", "zstd"])


def need(compressor: str | None) -> None:
    if compressor is not None and compressor not in {known.name for known in compressor_numbers().values()}:
        pytest.skip(f"{compressor} is not installed")


@each_scheme
@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_values_of_every_type_arrive_with_their_type(scheme: str, codec: str) -> None:
    async with served(Types, scheme=scheme) as target, fastrpc.Client(target) as client:
        view = client.with_options(codec=codec)
        for method, given, expected in EXCHANGES:
            answer = await view.call(method, *given)
            wanted = given if expected is None and len(given) > 1 else expected
            assert answer == wanted, method
            assert type(answer) is type(wanted), method


@each_scheme
async def test_scalars_arrive_as_they_were_sent(scheme: str) -> None:
    async with served(Types, scheme=scheme) as target, fastrpc.Client(target) as client:
        given = (-5, 2.5, "grüße \N{SNOWMAN}", b"\x00\xff", True, None)
        assert await client.call(Types.scalars, *given) == list(given)


@each_scheme
@each_compressor
@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_large_values_survive_codec_and_compressor(
    scheme: str, codec: str, compressor: str | None
) -> None:
    need(compressor)
    page = Page([TEXT, "", TEXT[:1_500]])
    async with served(Large, scheme=scheme) as target, fastrpc.Client(target) as client:
        view = client.with_options(codec=codec, compressor=compressor)
        assert await view.call(Large.page, page) == page
        assert await view.call(Large.page, Page(["short"])) == Page(["short"])


@each_scheme
@each_compressor
async def test_raw_bytes_survive_each_compressor(scheme: str, compressor: str | None) -> None:
    need(compressor)
    async with served(Large, scheme=scheme) as target, fastrpc.Client(target) as client:
        view = client.with_options(compressor=compressor)
        for data in (b"", b"x", TEXT.encode(), bytes(range(256)) * 4, bytes(300_000)):
            assert await view.call(Large.raw, data) == data


@each_scheme
@each_compressor
async def test_protobuf_messages_survive_each_compressor(scheme: str, compressor: str | None) -> None:
    need(compressor)
    Person = person_class()

    @fastrpc.service("people")
    class People:
        @fastrpc.method
        async def older(self, person: Person) -> Person:  # type: ignore[valid-type]
            person.scores.append(len(person.scores))  # type: ignore[attr-defined]
            return person

    async with served(People, scheme=scheme) as target, fastrpc.Client(target) as client:
        view = client.with_options(compressor=compressor)
        for name in ("Ada", TEXT):
            answer = await view.call(People.older, Person(name=name, scores=[4, 5]))
            assert (answer.name, list(answer.scores)) == (name, [4, 5, 2])


@each_scheme
async def test_a_client_may_name_codec_and_compressor_for_all_its_calls(scheme: str) -> None:
    config = fastrpc.ClientConfig(codec="json", compressor="gzip", compress_above=10)
    async with served(Large, scheme=scheme) as target, fastrpc.Client(target, config=config) as client:
        assert await client.call(Large.page, Page([TEXT])) == Page([TEXT])
        assert await client.call("large.page", {"items": ["x"]}) == {"items": ["x"], "following": None}
