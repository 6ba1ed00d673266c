"""What a method encodes in 32 bits, by the types of its parameters, results and messages."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NamedTuple, NotRequired, TypedDict, TypeVar

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
import pytest

import fastrpc
from fastrpc import EncodeError, Float32
from fastrpc.codecs.base import codec_named
from fastrpc.rpc.description import describe
from fastrpc.rpc.marking import method
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.schema.json_schema import SchemaSet
from fastrpc.rpc.service import method_definition, service, service_definition

Narrow = Annotated[float, Float32]
T = TypeVar("T")

#: 1.5 in 32 bits.
BYTES = b"\xca\x3f\xc0\x00\x00"


@dataclass
class Plain:
    x: Narrow
    y: float = 2.0


@dataclass(frozen=True, slots=True)
class Frozen:
    x: Narrow


class Derived(Plain):
    def __post_init__(self) -> None:
        raise AssertionError("a copy is made without it")


@dataclass
class Box(Generic[T]):
    held: T


class Node(msgspec.Struct, tag="node", rename="camel", omit_defaults=True):
    own_value: Narrow = 0.25
    children: list["Node"] = []


class Leaf(msgspec.Struct, tag="leaf"):
    at: Narrow


class Row(msgspec.Struct, array_like=True, frozen=True):
    name: str
    x: Narrow | None = None


class Pair(NamedTuple):
    x: Narrow
    y: float


class Entry(TypedDict):
    x: Narrow
    note: NotRequired[str]


@attrs.define
class Made:
    x: Narrow


def derived() -> Derived:
    made = object.__new__(Derived)
    made.x, made.y = 1.5, 2.0
    return made


CASES: list[tuple[Any, Any]] = [
    (Narrow, 1.5),
    (Narrow | None, 1.5),
    (Narrow | str, 1.5),
    (Annotated[float, Float32, msgspec.Meta(ge=0)], 1.5),
    (Annotated[list[Narrow], msgspec.Meta(description="some")], [1.5]),
    (list[Narrow], [1.5]),
    (tuple[Narrow, float], (1.5, 2.0)),
    (tuple[Narrow, ...], (1.5, 1.5)),
    (set[Narrow], {1.5}),
    (frozenset[Narrow], frozenset({1.5})),
    (dict[str, Narrow], {"a": 1.5}),
    (dict[Narrow, str], {1.5: "a"}),
    (dict[str, list[Narrow] | None], {"a": None, "b": [1.5]}),
    (Plain, Plain(1.5)),
    (Plain, derived()),
    (list[Plain] | None, [Plain(1.5)]),
    (Frozen, Frozen(1.5)),
    (Box[Narrow], Box(1.5)),
    (Node, Node(1.5, [Node(), Node(1.5)])),
    (Node | Leaf | None, Leaf(1.5)),
    (Row, Row("a", 1.5)),
    (Pair, Pair(1.5, 2.0)),
    (Entry, {"x": 1.5, "note": "n"}),
    (Made, Made(1.5)),
]


def marshal_of(kind: Any, codec: str = "msgpack", **options: Any) -> Any:
    async def keep(self: Any, value: Any, *, other: Any = None) -> Any: ...

    keep.__annotations__ = {"value": kind, "other": kind, "return": kind}
    kept = service("kept")(type("Kept", (), {"keep": method(keep)}))
    return marshal_for(service_definition(kept).methods["keep"], codec, depth=50, items=10_000, **options)


@pytest.mark.parametrize(("kind", "value"), CASES)
def test_only_the_width_of_the_numbers_changes(kind: Any, value: Any) -> None:
    marshal = marshal_of(kind)
    wide = msgspec.msgpack.encode(value)
    expected = wide.replace(msgspec.msgpack.encode(1.5), BYTES).replace(
        b"\xcb\x3f\xd0" + bytes(6), b"\xca\x3e\x80\x00\x00"
    )
    assert expected != wide
    assert marshal.encode_result(value) == expected
    assert marshal.encode_arguments((value,), {}) == b"\x91" + expected
    assert marshal.encode_arguments((), {"value": value, "other": value}).count(BYTES) == 2 * expected.count(
        BYTES
    )
    assert marshal_of(kind, by_value=True).encode_arguments((value,), {}).endswith(expected)
    decoded = marshal.decode_result(expected)
    assert decoded == value or isinstance(value, Derived)
    assert marshal.decode_result(wide) == decoded


@pytest.mark.parametrize(("kind", "value"), CASES)
def test_json_has_the_same_values(kind: Any, value: Any) -> None:
    marshal = marshal_of(kind, "json")
    assert marshal.encode_result(value) == msgspec.json.encode(value)
    assert marshal.decode_result(marshal.encode_result(value)) == marshal_of(kind).decode_result(
        marshal_of(kind).encode_result(value)
    )


def test_values_are_left_as_they_were() -> None:
    rows = [Plain(0.1)]
    marshal_of(list[Plain]).encode_result(rows)
    assert rows == [Plain(0.1)]
    assert type(rows[0].x) is float


def test_integers_beside_them_stay_integers() -> None:
    marshal = marshal_of(Narrow | int)
    assert marshal.encode_result(3) == b"\x03"
    assert marshal.encode_result(1.5) == BYTES
    assert marshal_of(Narrow).encode_result(3) == b"\xca\x40\x40\x00\x00"


def test_values_of_other_types_are_for_the_receiver_to_refuse() -> None:
    assert marshal_of(list[Narrow]).encode_result("text") == b"\xa4text"
    assert marshal_of(Plain).encode_result({"x": 1}) == b"\x81\xa1x\x01"


def test_keys_that_become_one_are_refused() -> None:
    with pytest.raises(EncodeError, match="two keys of a map are the same number in Float32"):
        marshal_of(dict[Narrow, int]).encode_result({0.1: 1, 0.1 + 1e-12: 2})


def test_the_argument_beyond_the_range_is_named() -> None:
    @service("named")
    class Named:
        @method
        async def put(self, a: float, b: list[Narrow], c: Narrow = 0.0) -> None: ...

    definition = method_definition(Named.put)
    for options in ({}, {"by_value": True}):
        marshal = marshal_for(definition, "msgpack", depth=50, items=100, **options)  # type: ignore[arg-type]
        with pytest.raises(EncodeError, match=r"argument b, of type list, .*: 1e\+39 is beyond"):
            marshal.encode_arguments((1e39, [1e39]), {})
        with pytest.raises(EncodeError, match=r"argument c, of type float, .*: 1e\+40 is beyond"):
            marshal.encode_arguments((1e39, [1.0]), {"c": 1e40})


def test_arrays_beside_them_are_carried() -> None:
    kind = tuple[Narrow, npt.NDArray[np.float64], dict[Narrow, int]]
    x, array, keyed = marshal_of(kind).decode_result(
        marshal_of(kind).encode_result((1.5, np.arange(3.0), {1.5: 1}))
    )
    assert (x, array.tolist(), keyed) == (1.5, [0.0, 1.0, 2.0], {1.5: 1})


def test_a_method_without_them_has_the_encoder_of_all_others() -> None:
    @service("parts")
    class Parts:
        @method
        async def put(self, a: float, points: AsyncIterator[float]) -> Plain: ...  # type: ignore[empty-body]

    coders = marshal_for(method_definition(Parts.put), "msgpack", depth=50, items=100).coders
    assert coders.encode_arguments == coders.encode_message == codec_named("msgpack").encoder()
    assert coders.encode_result != coders.encode_message


def test_reflection_and_schemas_tell_them() -> None:
    @service("told")
    class Told:
        @method
        async def put(self, a: Narrow, b: list[Annotated[float, Float32, msgspec.Meta(ge=0)]]) -> Narrow: ...  # type: ignore[empty-body]

    assert SchemaSet().schema_of(Narrow) == {"type": "number", "format": "float"}
    text = str(describe(service_definition(Told)))
    assert "Annotated[float, Float32]" in text
    assert "list[Annotated[float, Float32, Meta(ge=0)]]" in text
    assert fastrpc.Float32 is Float32
