"""Random types that protobuf carries, with random values of them."""

import dataclasses
import enum
import keyword
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, NamedTuple, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pydantic
from hypothesis import strategies as st

import fastrpc

__all__ = ["Kind", "classes", "kinds", "values_of"]

INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 300)
INT32 = st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 300)
UINT64 = st.integers(0, 2**64 - 1) | st.integers(0, 300)
UINT32 = st.integers(0, 2**32 - 1) | st.integers(0, 300)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FLOATS = st.floats(allow_nan=False)
NARROW = st.floats(allow_nan=False, width=32)
#: In UTC, too, they are in the years 1 to 9999.
TIMES = st.datetimes(
    datetime.fromisoformat("0001-01-02"),
    datetime.fromisoformat("9999-12-30"),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"
    DARK_GREEN = "green"


class Level(enum.IntEnum):
    NONE = 0
    LOW = -7
    HIGH = 2_000_000_000


class Step(enum.IntEnum):
    FIRST = 1
    LAST = 9


class Cat(msgspec.Struct, tag=True):
    name: str = ""
    lives: int = 9


class Dog(msgspec.Struct, tag="dog"):
    age: float
    friend: "Cat | Dog | None" = None


class Row(msgspec.Struct, array_like=True):
    id: int
    name: str = "none"


class Place(NamedTuple):
    x: float
    y: float = 1.5


class Loose(TypedDict):
    id: int
    note: NotRequired[str]


@dataclasses.dataclass
class Node:
    value: int
    next: "Node | None" = None
    children: "list[Node]" = dataclasses.field(default_factory=list)
    by_name: "dict[str, Node]" = dataclasses.field(default_factory=dict)


class Model(pydantic.BaseModel):
    id: int
    made: datetime | None = None
    color: Color = Color.RED
    key: UUID
    nodes: list[Node] = []


class Kind(NamedTuple):
    """A type, and a strategy for its values."""

    annotation: Any
    values: st.SearchStrategy[Any]


def number(annotation: Any, kind: str, values: st.SearchStrategy[Any]) -> Kind:
    return Kind(Annotated[annotation, fastrpc.Field(kind=kind)], values)


SCALARS = (
    Kind(bool, st.booleans()),
    Kind(int, INT64),
    Kind(float, FLOATS),
    Kind(str, TEXT),
    Kind(bytes, st.binary(max_size=8)),
    Kind(date, st.dates()),
    Kind(time, st.times()),
    Kind(Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=2)),
    Kind(Annotated[float, fastrpc.Float32], NARROW),
    number(float, "float", NARROW),
    *(number(int, name, INT32) for name in ("int32", "sint32", "sfixed32")),
    *(number(int, name, INT64) for name in ("sint64", "sfixed64")),
    *(number(int, name, UINT32) for name in ("uint32", "fixed32")),
    *(number(int, name, UINT64) for name in ("uint64", "fixed64")),
)
KEYS = (Kind(str, TEXT), Kind(int, INT64), Kind(bool, st.booleans()), number(int, "sint32", INT32))

ENUMS = tuple(Kind(one, st.sampled_from(one)) for one in (Color, Level, Step))

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)

CATS = st.builds(Cat, TEXT, INT64)
PETS = CATS | st.builds(Dog, FLOATS, st.none() | CATS | st.builds(Dog, FLOATS))
NODES = st.recursive(
    st.builds(Node, INT64),
    lambda inner: st.builds(
        Node,
        INT64,
        st.none() | inner,
        st.lists(inner, max_size=2),
        st.dictionaries(TEXT, inner, max_size=2),
    ),
    max_leaves=5,
)

CLASSES = (
    Kind(Cat, CATS),
    Kind(Cat | Dog, PETS),
    Kind(Row, st.builds(Row, INT64, TEXT)),
    Kind(Place, st.builds(Place, FLOATS, FLOATS)),
    Kind(Loose, st.fixed_dictionaries({"id": INT64}, optional={"note": TEXT})),
    Kind(Node, NODES),
    Kind(
        Model,
        st.builds(
            Model,
            id=INT64,
            made=st.none() | TIMES,
            color=st.sampled_from(Color),
            key=st.uuids(),
            nodes=st.lists(NODES, max_size=2),
        ),
    ),
    Kind(datetime, TIMES),
    Kind(timedelta, st.timedeltas(timedelta(days=-3_652_500), timedelta(days=3_652_500))),
    Kind(Any, PLAIN),
)

SINGLE = (*SCALARS, *ENUMS, *CLASSES)


def _list(kind: Kind) -> Kind:
    return Kind(list.__class_getitem__(kind.annotation), st.lists(kind.values, max_size=4))


def _row(kind: Kind) -> Kind:
    values = st.lists(kind.values, max_size=4).map(tuple)
    return Kind(tuple.__class_getitem__((kind.annotation, ...)), values)


def _map(key: Kind, kind: Kind) -> Kind:
    values = st.dictionaries(key.values, kind.values, max_size=4)
    return Kind(dict.__class_getitem__((key.annotation, kind.annotation)), values)


def _optional(kind: Kind) -> Kind:
    return Kind(kind.annotation | None, st.none() | kind.values)


_singles = st.sampled_from(SINGLE)

#: The types of fields without a default.
kinds: st.SearchStrategy[Kind] = st.one_of(
    _singles,
    _singles.map(_optional),
    _singles.map(_list),
    _singles.map(_row),
    st.builds(_map, st.sampled_from(KEYS), _singles),
    st.sampled_from(SCALARS[:5]).map(
        lambda kind: Kind(set.__class_getitem__(kind.annotation), st.sets(kind.values, max_size=4))
    ),
)

_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}(_[a-z0-9]{1,4})?", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name)
)


class Field(NamedTuple):
    """A field of a random class."""

    name: str
    kind: Kind
    number: int | None
    default: Any


@st.composite
def _fields(draw: st.DrawFn) -> list[Field]:
    names = draw(st.lists(_NAMES, max_size=7, unique_by=lambda name: name.replace("_", "").lower()))
    given = draw(
        st.lists(
            st.integers(50, 18_999) | st.integers(20_000, 536_870_911),
            min_size=len(names),
            max_size=len(names),
            unique=True,
        )
    )
    found = []
    for name, at in zip(names, given, strict=True):
        kind = draw(kinds)
        # A mutable default belongs to a factory.
        has_default = draw(st.booleans()) and kind in SCALARS
        default = draw(kind.values) if has_default else dataclasses.MISSING
        found.append(Field(name, kind, draw(st.none() | st.just(at)), default))
    return sorted(found, key=lambda field: field.default is not dataclasses.MISSING)


def _annotated(field: Field) -> Any:
    return (
        field.kind.annotation
        if field.number is None
        else Annotated[field.kind.annotation, fastrpc.Field(field.number)]
    )


def _dataclass(fields: list[Field]) -> Any:
    listed = [(field.name, _annotated(field), dataclasses.field(default=field.default)) for field in fields]
    return dataclasses.make_dataclass("Random", listed)


def _struct(fields: list[Field]) -> Any:
    listed = [
        (field.name, _annotated(field))
        if field.default is dataclasses.MISSING
        else (field.name, _annotated(field), field.default)
        for field in fields
    ]
    return msgspec.defstruct("Random", listed)


@st.composite
def classes(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    """Return a random class with some of its objects."""
    fields = draw(_fields())
    cls = draw(st.sampled_from([_dataclass, _struct]))(fields)
    made = st.builds(cls, **{field.name: field.kind.values for field in fields})
    return cls, draw(st.lists(made, min_size=1, max_size=4))


def values_of(value: Any) -> Any:
    """Return a value in a form that is equal if its floats are; zeros of different sign are unequal."""
    if isinstance(value, float):
        return ("float", value, math.copysign(1, value))
    return value
