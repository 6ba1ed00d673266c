"""Decoded dataclasses have all their fields, so that they encode them when they are sent on."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import pytest
from msgspec import Meta

from fastrpc.rpc.schema.defaults import filled, filler_for

T = TypeVar("T")


@dataclass
class Money:
    amount: int
    currency: str = "EUR"


@dataclass(frozen=True)
class FrozenMoney:
    amount: int
    currency: str = "EUR"


@dataclass(slots=True)
class SlottedMoney:
    amount: int
    currency: str = "EUR"


@dataclass(kw_only=True)
class NamedMoney:
    currency: str = "EUR"
    amount: int


@dataclass
class TaggedMoney:
    amount: int
    tags: list[str] = field(default_factory=list)
    rate: ClassVar[float] = 1.5
    currency: str = "EUR"
    note: str | None = None
    source: str = field(default="bank", init=False)


@dataclass
class CheckedMoney:
    amount: int
    currency: str = "EUR"

    def __post_init__(self) -> None:
        if len(self.currency) != 3:
            raise ValueError("a currency has three letters")


@dataclass
class TaxedMoney(Money):
    tax: float = 0.25


class PlainChild(Money):
    """Inherits all, without the decorator."""


@dataclass
class Maker:
    made: Any = None


@dataclass
class ListMaker(Maker):
    made: list[int] = field(default_factory=list)


@dataclass
class Purse(Generic[T]):
    content: T
    label: str = "purse"


@dataclass
class Chain:
    number: int = 1
    rest: "Chain | None" = None


class Order(msgspec.Struct):
    total: Money
    parts: list[Money] = []


class Row(TypedDict, total=False):
    money: Money
    count: int


class Pair(NamedTuple):
    first: int
    second: Money


EUROS = {"amount": 1, "currency": "EUR"}
#: Type, input, and output. Metadata says nothing of the fields.
Told = Annotated[Money, Meta(description="a sum")]


@dataclass
class ToldOrder:
    total: Told


CASES: list[Any] = [
    (Money, {"amount": 1}, EUROS),
    (Money, {"amount": 1, "currency": "USD"}, {"amount": 1, "currency": "USD"}),
    (FrozenMoney, {"amount": 1}, EUROS),
    (SlottedMoney, {"amount": 1}, EUROS),
    (NamedMoney, {"amount": 1}, EUROS),
    (CheckedMoney, {"amount": 1}, EUROS),
    (
        TaggedMoney,
        {"amount": 1},
        {"amount": 1, "tags": [], "currency": "EUR", "note": None, "source": "bank"},
    ),
    (TaxedMoney, {"amount": 1}, {**EUROS, "tax": 0.25}),
    (PlainChild, {"amount": 1}, EUROS),
    (ListMaker, {}, {"made": []}),
    (list[Money], [{"amount": 1}] * 2, [EUROS] * 2),
    (Sequence[Money], [{"amount": 1}], [EUROS]),
    (tuple[Money, ...], [{"amount": 1}], [EUROS]),
    (tuple[int, Money], [5, {"amount": 1}], [5, EUROS]),
    (dict[str, Money], {"a": {"amount": 1}}, {"a": EUROS}),
    (Mapping[str, list[Money]], {"a": [{"amount": 1}]}, {"a": [EUROS]}),
    (Money | None, {"amount": 1}, EUROS),
    (Money | None, None, None),
    (Money | int | list[Money], [{"amount": 1}], [EUROS]),
    (set[FrozenMoney], [{"amount": 1}], [EUROS]),
    (frozenset[FrozenMoney], [{"amount": 1}], [EUROS]),
    (Purse[int], {"content": 1}, {"content": 1, "label": "purse"}),
    (Purse[Money], {"content": {"amount": 1}}, {"content": EUROS, "label": "purse"}),
    (
        Purse[Purse[Money]],
        {"content": {"content": {"amount": 1}}},
        {"content": {"content": EUROS, "label": "purse"}, "label": "purse"},
    ),
    (Chain, {}, {"number": 1, "rest": None}),
    (
        Chain,
        {"rest": {"rest": {}}},
        {"number": 1, "rest": {"number": 1, "rest": {"number": 1, "rest": None}}},
    ),
    (Order, {"total": {"amount": 1}}, {"total": EUROS, "parts": []}),
    (Order, {"total": {"amount": 1}, "parts": [{"amount": 1}]}, {"total": EUROS, "parts": [EUROS]}),
    (Row, {"money": {"amount": 1}}, {"money": EUROS}),
    (Row, {"count": 1}, {"count": 1}),
    (Pair, [5, {"amount": 1}], [5, EUROS]),
    (list[dict[str, Purse[Order] | None]], [{"a": None}], [{"a": None}]),
    (Told, {"amount": 1}, EUROS),
    (list[Told] | None, [{"amount": 1}], [EUROS]),
    (Annotated[dict[str, Told], Meta(max_length=2)], {"a": {"amount": 1}}, {"a": EUROS}),
    (tuple[int, Annotated[Told | None, Meta(title="twice")]], [5, {"amount": 1}], [5, EUROS]),
    (ToldOrder, {"total": {"amount": 1}}, {"total": EUROS}),
]


@pytest.mark.parametrize("library", [msgspec.msgpack, msgspec.json])
def test_decoded_objects_encode_all_their_fields(library: Any) -> None:
    for kind, sent, returned in CASES:
        decode: Callable[[Any], Any] = filled(library.Decoder(kind).decode, (kind,), as_row=False)
        value = decode(library.encode(sent))
        assert library.decode(library.encode(value)) == returned, kind
        rows = filled(library.Decoder(tuple.__class_getitem__((int, kind))).decode, (int, kind), as_row=True)
        assert library.decode(library.encode(rows(library.encode([7, sent])))) == [7, returned], kind


def test_keys_of_maps_are_filled_too() -> None:
    kind = dict[FrozenMoney, int]
    decode = filled(msgspec.msgpack.Decoder(kind).decode, (kind,), as_row=False)
    [money] = decode(b"\x81" + msgspec.msgpack.encode({"amount": 1}) + b"\x00")
    assert vars(money) == EUROS


def test_values_are_equal_to_those_made_by_the_class() -> None:
    decode = filled(msgspec.json.Decoder(TaggedMoney).decode, (TaggedMoney,), as_row=False)
    assert decode(b'{"amount": 1}') == TaggedMoney(1)
    assert vars(decode(b'{"amount": 1}')) == dataclasses.asdict(TaggedMoney(1))


def test_two_values_never_share_a_factory_default() -> None:
    decode = filled(msgspec.json.Decoder(list[ListMaker]).decode, (list[ListMaker],), as_row=False)
    first, second = decode(b"[{},{}]")
    assert first.made is not second.made


@dataclass
class Base:
    number: Any = 5


@dataclass
class Strict(Base):
    number: int = field()  # type: ignore[assignment]


def test_a_required_field_with_a_default_in_the_base_class_is_missed() -> None:
    decode = filled(msgspec.json.Decoder(Strict).decode, (Strict,), as_row=False)
    with pytest.raises(msgspec.ValidationError, match="missing required field `number`"):
        decode(b"{}")
    assert decode(b'{"number": 1}') == Strict(1)


@dataclass
class Bare:
    amount: int


@pytest.mark.parametrize(
    "kind",
    [
        int,
        Any,
        None,
        list[int],
        dict[str, str],
        Bare,
        list[Bare],
        SlottedMoney,
        object,
        dict[str, SlottedMoney | None],
    ],
)
def test_types_without_optional_parts_cost_nothing(kind: Any) -> None:
    def decode(payload: Any) -> Any:
        return payload

    assert filler_for(kind) is None
    assert filled(decode, (kind, int), as_row=True) is decode
