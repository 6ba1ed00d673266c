"""The keys of types that are scanned before a payload is decoded."""

import datetime
import enum
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import msgspec
import pytest

from fastrpc.codecs.base import codec_named
from fastrpc.rpc.schema.scans import colliding_types, scan_for
from tests.support.people import person_class

T = TypeVar("T")
UserId = NewType("UserId", int)


class Colour(enum.Enum):
    RED = 1


class Number(enum.IntEnum):
    ONE = 1


@dataclass(frozen=True)
class Place:
    x: int


@dataclass
class Table(Generic[T]):
    rows: dict[T, str]


@dataclass
class Tree:
    children: "dict[Decimal, Tree]"


class Book(msgspec.Struct):
    prices: dict[str, dict[float, int]]


class Row(TypedDict):
    index: dict[int, str]


class Entry(NamedTuple):
    days: dict[datetime.date, int]


@pytest.mark.parametrize(
    "kind",
    [
        int,
        str,
        list[int],
        dict[str, int],
        dict[bytes, int],
        dict[bool, int],
        dict[Colour, int],
        dict[Number, int],
        dict[Literal[1, 2], int],
        dict[str | None, list[int]],
        dict[tuple[str, bytes], int],
        set[str],
        frozenset[Colour],
        Table[str],
        Place,
    ],
)
def test_types_without_such_keys_have_no_guard(kind: Any) -> None:
    assert colliding_types((kind, int), is_text=False) == ([], [])
    for name in ("msgpack", "json"):
        scan = scan_for(codec_named(name), (kind,))
        assert scan is not None
        assert scan.guard is None


@pytest.mark.parametrize(
    ("kind", "keys", "values"),
    [
        (dict[int, str], [int], []),
        (dict[UserId, str], [int], []),
        (dict[Annotated[int, msgspec.Meta(gt=5)], str], [int], []),
        (dict[int | str, str], [int | str], []),
        (dict[tuple[str, int], str], [tuple[str, int]], []),
        (dict[tuple[bool, ...], str], [tuple[bool, ...]], []),
        (dict[Place, str], [Place], []),
        (dict[datetime.datetime, str], [datetime.datetime], []),
        (dict[uuid.UUID, str], [uuid.UUID], []),
        (dict[frozenset[int], str], [frozenset[int]], [int]),
        (set[int], [], [int]),
        (frozenset[Decimal] | None, [], [Decimal]),
        (list[dict[str, set[float]]], [], [float]),
        (Table[int], [int], []),
        (Table[Decimal] | int, [Decimal], []),
        (Tree, [Decimal], []),
        (Book, [float], []),
        (Row, [int], []),
        (Entry, [datetime.date], []),
        (Annotated[dict[int, str], msgspec.Meta(description="by number")], [int], []),
        (list[Annotated[set[int], msgspec.Meta(title="numbers")]], [], [int]),
        (Any, [Any], []),
        (object, [Any], []),
        (list[Any], [Any], []),
        (dict[str, Any], [Any], []),
        (dict, [Any], []),
        (set, [Any], [Any]),
    ],
)
def test_the_types_of_keys_that_can_collide_are_found(kind: Any, keys: list[Any], values: list[Any]) -> None:
    assert colliding_types((str, kind), is_text=False) == (keys, values)
    scan = scan_for(codec_named("msgpack"), (str, kind))
    assert scan is not None
    assert scan.guard is not None


def test_each_type_is_looked_at_once() -> None:
    assert colliding_types((dict[int, int], list[dict[int, str]]), is_text=False) == ([int], [])


def test_keys_of_json_are_text_unless_an_annotation_says_otherwise() -> None:
    for kind in (Any, dict[str, Any], dict[int | str, int], dict):
        assert colliding_types((kind,), is_text=True) == ([], [])
    assert colliding_types((dict[int, int], set[int]), is_text=True) == ([int], [int])


def test_protobuf_messages_are_scanned_by_their_layout() -> None:
    protobuf = codec_named("protobuf")
    scan = scan_for(protobuf, (person_class(),))
    assert scan is not None
    assert scan.scan(b"\x22\x00" * 3, max_items=2)[0] == "too many items"
    assert scan_for(protobuf, ()) is None
    assert scan_for(protobuf, (None,)) is None


def test_fields_of_an_opaque_class_are_counted() -> None:
    class Foreign:
        @classmethod
        def FromString(cls, payload: bytes) -> "Foreign":
            raise NotImplementedError

    scan = scan_for(codec_named("protobuf"), (Foreign,))
    assert scan is not None
    assert scan.scan(b"\x22\x00" * 3, max_items=2)[0] == "too many items"


def test_payloads_of_unknown_codecs_are_not_scanned() -> None:
    assert scan_for(codec_named("raw"), (bytes,)) is None
