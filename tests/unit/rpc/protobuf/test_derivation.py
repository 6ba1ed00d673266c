"""Types of Python as messages of protobuf."""

import dataclasses
import enum
import sys
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import msgspec
import numpy as np
import pydantic
import pytest

import fastrpc
from fastrpc.rpc.protobuf.annotations import UnfitTypeError
from fastrpc.rpc.protobuf.derivation import Derivation
from fastrpc.rpc.protobuf.messages import DURATION, TIMESTAMP, VALUE, ProtoField, ProtoMessage

T = TypeVar("T")
UserId = NewType("UserId", int)


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


class Cat(msgspec.Struct, tag=True):
    name: str


class HTTPDog(msgspec.Struct, tag=True):
    age: int


class Held(msgspec.Struct, Generic[T]):
    item: T


class Page(msgspec.Struct, Generic[T]):
    items: list[T]
    next: str = ""


def of(cls: Any) -> ProtoMessage:
    return Derivation().message(cls)


def one(annotation: Any, **default: Any) -> ProtoField:
    """Return the field of a class with one field of this type."""
    listed = ("value", annotation, dataclasses.field(**default)) if default else ("value", annotation)
    return of(dataclasses.make_dataclass("Sample", [listed])).fields[0]


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (int, "int64"),
        (float, "double"),
        (str, "string"),
        (bytes, "bytes"),
        (bytearray, "bytes"),
        (bool, "bool"),
        (Annotated[float, fastrpc.Float32], "float"),
        (Annotated[int, fastrpc.Field(kind="sfixed32")], "sfixed32"),
        (Annotated[int, msgspec.Meta(ge=0)], "int64"),
        (UserId, "int64"),
        (Literal["a", "b"], "string"),
        (Literal[1, 2], "int64"),
        *((kind, "string") for kind in (Decimal, UUID, date, time, Path, IPv4Address)),
    ],
)
def test_scalars_have_a_type_of_protobuf(annotation: Any, kind: str) -> None:
    found = one(annotation)
    assert (found.kind, found.shape, found.message) == (kind, "single", None)


@pytest.mark.parametrize(
    ("annotation", "message"), [(datetime, TIMESTAMP), (timedelta, DURATION), (Any, VALUE), (object, VALUE)]
)
def test_some_types_are_messages_of_protobuf(annotation: Any, message: ProtoMessage) -> None:
    assert one(annotation).message is message


@pytest.mark.parametrize(
    "annotation",
    [
        list[int],
        set[int],
        frozenset[int],
        tuple[int, ...],
        Sequence[int],
        deque[int],
        Annotated[list[int], 5],
    ],
)
def test_lists_are_repeated(annotation: Any) -> None:
    found = one(annotation)
    assert (found.kind, found.shape) == ("int64", "repeated")


@pytest.mark.parametrize("annotation", [dict[str, int], Mapping[str, int], Counter[str]])
def test_dicts_are_maps(annotation: Any) -> None:
    found = one(annotation)
    assert found.shape == "map"
    assert found.message is not None
    assert [part.kind for part in found.message.fields] == ["string", "int64"]


def test_the_kind_of_numbers_reaches_those_in_a_list() -> None:
    assert one(Annotated[list[int], fastrpc.Field(7, kind="sint64")]).kind == "sint64"
    assert one(list[Annotated[int, fastrpc.Field(kind="sint64")]]).kind == "sint64"
    assert one(Annotated[int | None, fastrpc.Field(7, kind="sint64")]).kind == "sint64"


def test_numbers_are_positions_or_given_by_field() -> None:
    @dataclasses.dataclass
    class Order:
        id: int
        name: Annotated[str, fastrpc.Field(20)]
        note: str

    assert [(field.name, field.number) for field in of(Order).fields] == [
        ("id", 1),
        ("name", 20),
        ("note", 3),
    ]


def test_inherited_fields_come_first() -> None:
    @dataclasses.dataclass
    class Base:
        id: int

    @dataclasses.dataclass
    class Order(Base):
        name: str

    assert [field.name for field in of(Order).fields] == ["id", "name"]


class TestAbsence:
    """What the absence of a field means."""

    def test_a_missing_required_scalar_is_zero(self) -> None:
        found = one(int)
        assert (found.is_optional, found.absent) == (False, b"\x00")

    @pytest.mark.parametrize(
        ("annotation", "default"),
        [(int, 0), (str, ""), (bool, False), (float, 0), (float, 0.0), (bytes, b"")],
    )
    def test_a_default_that_is_zero_needs_no_mark(self, annotation: Any, default: Any) -> None:
        assert not one(annotation, default=default).is_optional

    @pytest.mark.parametrize(
        ("annotation", "default"), [(int, 5), (str, "x"), (bool, True), (float, -0.0), (Decimal, Decimal(0))]
    )
    def test_a_field_with_another_default_is_optional(self, annotation: Any, default: Any) -> None:
        found = one(annotation, default=default)
        assert (found.is_optional, found.absent) == (True, None)

    def test_so_is_one_whose_default_is_made(self) -> None:
        assert one(str, default_factory=str).is_optional

    def test_none_means_that_the_field_is_missing(self) -> None:
        for found in (one(int | None), one(int | None, default=None)):
            assert (found.is_optional, found.takes_none, found.absent) == (True, True, b"\xc0")

    def test_so_is_unset(self) -> None:
        found = one(int | msgspec.UnsetType, default=msgspec.UNSET)
        assert (found.is_optional, found.takes_none, found.absent) == (True, False, None)

    def test_lists_and_maps_are_empty(self) -> None:
        assert one(list[int], default_factory=lambda: [5]).absent == b"\x90"
        assert one(dict[str, int]).absent == b"\x80"

    def test_a_message_and_an_enum_have_no_zero(self) -> None:
        assert one(Cat).absent is one(Color).absent is None
        assert not one(Cat).is_optional

    def test_an_enum_with_a_default_is_optional(self) -> None:
        assert one(Color, default=Color.BLUE).is_optional

    @pytest.mark.parametrize(
        ("annotation", "default"),
        [(int | None, 5), (int | msgspec.UnsetType, 5), (int | None | msgspec.UnsetType, None)],
    )
    def test_two_meanings_of_absence_are_refused(self, annotation: Any, default: Any) -> None:
        with pytest.raises(UnfitTypeError, match="an absent field is either"):
            one(annotation, default=default)


class TestEnums:
    """Enums, whose number 0 is UNSPECIFIED."""

    def test_members_have_their_position(self) -> None:
        found = one(Color).enum
        assert found is not None
        assert [(member.name, member.number, member.value) for member in found.members] == [
            ("RED", 1, "r"),
            ("BLUE", 2, "b"),
        ]
        assert found.zero is None

    def test_members_of_an_int_enum_have_their_value(self) -> None:
        level = enum.IntEnum("level", {"NONE": 0, "LOW": -3})
        found = one(level).enum
        assert found is not None
        assert [member.number for member in found.members] == [0, -3]
        assert found.zero is not None

    def test_a_default_that_is_the_zero_needs_no_mark(self) -> None:
        level = enum.IntEnum("level", {"NONE": 0, "LOW": 3})
        assert not one(level, default=level.NONE).is_optional
        assert one(level, default=level.LOW).is_optional

    def test_a_value_beyond_32_bits_is_refused(self) -> None:
        with pytest.raises(UnfitTypeError, match="HIGH is beyond 32 bits"):
            one(enum.IntEnum("level", {"HIGH": 2**31}))


class TestClasses:
    """Classes as messages."""

    def test_a_struct_has_its_own_keys(self) -> None:
        class Order(msgspec.Struct, rename="camel"):
            user_id: int

        (found,) = of(Order).fields
        assert (found.name, found.json_name, found.key) == ("user_id", "userId", b"\xa6userId")

    def test_a_typed_dict_may_lack_a_key(self) -> None:
        class Loose(TypedDict):
            id: int
            note: NotRequired[str]

        assert [(field.is_optional, field.absent) for field in of(Loose).fields] == [
            (False, b"\x00"),
            (True, None),
        ]

    def test_a_named_tuple_is_a_row(self) -> None:
        class Place(NamedTuple):
            x: float
            y: float = 1.5

        found = of(Place)
        assert found.form == "row"
        assert found.fields[1].absent == msgspec.msgpack.encode(1.5)

    def test_a_model_of_pydantic_is_a_message(self) -> None:
        class Order(pydantic.BaseModel):
            id: Annotated[int, fastrpc.Field(7, kind="sint64")]
            user_name: str = pydantic.Field("none", alias="userName")
            counts: list[int] = []

        found = of(Order)
        assert [(field.name, field.number, field.kind) for field in found.fields] == [
            ("id", 7, "sint64"),
            ("user_name", 2, "string"),
            ("counts", 3, "int64"),
        ]
        assert found.fields[1].plain_key == "userName"

    def test_a_generic_class_is_a_message_for_each_argument(self) -> None:
        derivation = Derivation()
        numbers, texts = derivation.message(Page[int]), derivation.message(Page[str])
        assert (numbers.name, numbers.fields[0].kind) == ("Page_int", "int64")
        assert (texts.name, texts.fields[0].kind) == ("Page_str", "string")

    @pytest.mark.parametrize("union", [Cat | None, Optional[Cat]])  # noqa: UP045 - the other notation
    def test_the_name_of_a_union_has_no_word_of_a_version_of_python(self, union: Any) -> None:
        assert Derivation().message(Held[union]).name == "Held_Cat_None"

    def test_a_class_may_hold_itself(self) -> None:
        @dataclasses.dataclass
        class Node:
            children: "list[Node]"

        globals()["Node"] = Node
        found = of(Node)
        assert found.fields[0].message is found
        del globals()["Node"]

    def test_a_class_is_one_message_in_every_place(self) -> None:
        derivation = Derivation()
        found = derivation.message(dataclasses.make_dataclass("Two", [("a", Cat), ("b", list[Cat])]))
        assert found.fields[0].message is found.fields[1].message

    def test_a_failure_leaves_no_half_message(self) -> None:
        derivation = Derivation()
        cls = dataclasses.make_dataclass("Bad", [("a", list[list[int]])])
        for _ in range(2):
            with pytest.raises(UnfitTypeError, match="its field 'a'"):
                derivation.message(cls)


class TestUnions:
    """Unions of Structs; a message holds one of them."""

    def test_members_come_in_order(self) -> None:
        found = one(Cat | HTTPDog).message
        assert found is not None
        assert (found.name, found.form) == ("CatOrHTTPDog", "union")
        assert [(field.name, field.number) for field in found.fields] == [("cat", 1), ("http_dog", 2)]

    def test_a_union_may_be_none(self) -> None:
        found = one(Cat | HTTPDog | None)
        assert found.takes_none
        assert found.message is not None
        assert len(found.message.fields) == 2

    def test_a_union_is_a_separate_message_in_every_place(self) -> None:
        derivation = Derivation()
        cls = dataclasses.make_dataclass("Two", [("a", Cat | HTTPDog), ("b", list[Cat | HTTPDog])])
        found = derivation.message(cls)
        assert found.fields[0].message is found.fields[1].message


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (list[list[int]], "in protobuf a list cannot contain a list"),
        (list[dict[str, int]], "in protobuf a list cannot contain a map"),
        (dict[str, list[int]], "in protobuf a map cannot contain a list"),
        (list[int | None], "in protobuf a list cannot contain None"),
        (dict[float, int], "the keys of a protobuf map are str, int or bool, not float"),
        (dict[Color, int], "not Color"),
        (tuple[int, str], "protobuf has no tuples of fixed length"),
        (tuple[()], "protobuf has no tuples of fixed length"),
        (int | str, "the members of a union must be Structs"),
        (Literal["a", 1], "its literals are of several types"),
        (list[int] | None, "in protobuf a list or a map is never absent"),
        (np.ndarray, "protobuf has no type for ndarray"),
        (complex, "protobuf has no type for complex"),
        (None, "protobuf has no type for None"),
    ],
    ids=str,
)
def test_types_without_a_form_are_refused_with_a_way_out(annotation: Any, text: str) -> None:
    with pytest.raises(UnfitTypeError) as caught:
        one(annotation)
    assert text in caught.value.reason
    assert caught.value.hint


def test_a_union_of_scalars_is_told_of_fields_that_may_be_none() -> None:
    with pytest.raises(UnfitTypeError) as caught:
        one(int | str)
    hint = caught.value.hint
    assert hint is not None
    assert "for a `oneof` of an existing .proto file, give the members fields that may be None" in hint


def test_names_that_are_one_in_json_are_refused() -> None:
    cls = dataclasses.make_dataclass("Twins", [("user_id", int), ("userId", int)])
    with pytest.raises(UnfitTypeError, match="'user_id' and 'userId' are one name in JSON"):
        of(cls)


def test_a_name_of_other_letters_is_refused() -> None:
    with pytest.raises(UnfitTypeError, match="'größe' is not a protobuf name"):
        of(dataclasses.make_dataclass("Box", [("größe", int)]))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`type` is a statement since Python 3.12")
def test_an_alias_is_its_type() -> None:
    names: dict[str, Any] = {"Cat": Cat, "HTTPDog": HTTPDog}
    exec("type Pet = Cat | HTTPDog\ntype Pets[T] = list[T]\ntype Itself = list[Itself]", names)
    assert one(names["Pet"]).message is not None
    assert one(names["Pets"][int]).shape == "repeated"
    with pytest.raises(UnfitTypeError):
        one(names["Itself"])
