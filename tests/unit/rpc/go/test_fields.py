"""Fields in the names of Go: values of every type go out by them, and come back by either name."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import PurePath
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest

import fastrpc
from fastrpc.errors import CallError, DecodeError
from fastrpc.rpc.go.fields import _Budget, _Plans
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.service import service_definition
from tests.support.colliding import colliding_numbers

T = TypeVar("T")
CODECS = {"msgpack": msgspec.msgpack, "json": msgspec.json}


@dataclass
class Leaf:
    leaf_id: int
    made_at: datetime | None = None
    the_sum: Decimal = Decimal("1.10")


@dataclass(frozen=True)
class Cell:
    cell_id: int


@dataclass
class Box(Generic[T]):
    the_item: T


@dataclass
class Node:
    node_id: int
    kids: "list[Node]" = field(default_factory=list)
    by_id: "dict[int, Node]" = field(default_factory=dict)


class Cat(msgspec.Struct, tag=True):
    pet_name: str


class Dog(msgspec.Struct, tag=True):
    pet_name: str
    owner_id: int = 0


class Loose(TypedDict):
    own_leaf: Leaf


class Pair(NamedTuple):
    count: int
    leaf: Leaf


class Odd(msgspec.Struct, tag="odd", omit_defaults=True):
    user_id: int
    user__id: int
    _1: int = 0
    item_name: str = msgspec.field(default="", name="item")
    next_odd: "Odd | None" = None


class Sparse(msgspec.Struct, omit_defaults=True):
    """Its fields are left out where they have their defaults; a value of another type, or equal by accident, stays."""

    item_ids: list[int] | None = msgspec.field(default_factory=list)
    item_count: int | bool = 1
    other_leaves: set[int] = msgspec.field(default_factory=set)
    the_leaf: Any = None


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    user_id: int


class Kinded(msgspec.Struct, tag_field="Kind", tag="k"):
    kind: int


@dataclass
class Chain:
    next_one: "Chain | None" = None


@dataclass
class LongLeaf(Leaf):
    more_of_it: int = 0


LEAF = Leaf(1, datetime(2026, 7, 7, tzinfo=UTC), Decimal("2.50"))

LEAF_NAMES = {"LeafID", "MadeAt", "TheSum"}

#: Types, a value of each, and its form: texts are names of fields.
CASES: list[tuple[Any, Any, set[str]]] = [
    (Box[Leaf], Box(LEAF), {"TheItem", "LeafID", "MadeAt", "TheSum"}),
    (Node, Node(1, [Node(2)], {3: Node(4, [Node(5)])}), {"NodeID", "Kids", "ByID"}),
    (Cat | Dog, Dog("Rex", 7), {"type", "PetName", "OwnerID"}),
    (Cat | Dog | None, Cat("Tom"), {"type", "PetName"}),
    (list[Leaf | None], [LEAF, None], {"LeafID", "MadeAt", "TheSum"}),
    (tuple[int, Leaf], (1, LEAF), {"LeafID", "MadeAt", "TheSum"}),
    (Loose, {"own_leaf": LEAF}, {"own_leaf", "LeafID", "MadeAt", "TheSum"}),
    (Pair, Pair(1, LEAF), {"LeafID", "MadeAt", "TheSum"}),
    (
        Odd,
        Odd(1, 2, 3, "fig", Odd(4, 5)),
        # Two with one name in Go, one that it has no name for, and one that has a name already.
        {"type", "user_id", "user__id", "_1", "item", "NextOdd"},
    ),
    # Members of a union are distinguished by their kind in the payload, then by their tags.
    (Leaf | list[Leaf], LEAF, LEAF_NAMES),
    (Leaf | list[Leaf], [LEAF], LEAF_NAMES),
    (list[Leaf] | dict[str, Leaf], [LEAF], LEAF_NAMES),
    (list[Leaf] | dict[int, Leaf], {7: LEAF}, LEAF_NAMES),
    (Cat | Dog | list[Cat], [Cat("Tom")], {"type", "PetName"}),
    (Cat | Dog | list[Cat], Dog("Rex"), {"type", "PetName", "OwnerID"}),
    (Loose | list[Loose], [{"own_leaf": LEAF}], {"own_leaf", *LEAF_NAMES}),
    (Loose | list[Loose], {"own_leaf": LEAF}, {"own_leaf", *LEAF_NAMES}),
    (tuple[Leaf, int] | Leaf, (LEAF, 1), LEAF_NAMES),
    (tuple[Leaf, int] | Leaf, LEAF, LEAF_NAMES),
    (Kinded, Kinded(3), {"Kind", "kind"}),
    # Keys that are not text, or not in every codec.
    (dict[float, Leaf], {1.5: LEAF}, {"1.5", *LEAF_NAMES}),
    (dict[UUID, Leaf], {UUID(int=7): LEAF}, {str(UUID(int=7)), *LEAF_NAMES}),
    (dict[date, Leaf], {date(2026, 7, 7): LEAF}, {"2026-07-07", *LEAF_NAMES}),
    (Sparse, Sparse(), set()),
    (Sparse, Sparse(None, True, {1}), {"ItemIds", "ItemCount", "OtherLeaves"}),
]


def names_in(value: Any) -> set[str]:
    """Return the texts by which the maps in a plain value name something."""
    if isinstance(value, dict):
        found = {str(key) for key in value if not str(key).isdigit()}
        return found.union(*map(names_in, value.values()))
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


def marshal_of(kind: Any, codec: str, *, result: Any = None) -> Any:
    async def keep(self: Any, value: Any) -> Any: ...

    keep.__annotations__ = {"value": kind, "return": result or kind}
    kept = fastrpc.service("kept", rpcx="go")(type("Kept", (), {"keep": fastrpc.method(keep)}))
    method = service_definition(kept).methods["keep"]
    return marshal_for(method, codec, depth=100, items=100_000, by_value=True)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("kind", "value", "names"), CASES)
def test_a_value_goes_out_and_comes_back(kind: Any, value: Any, names: set[str], codec: str) -> None:
    marshal = marshal_of(kind, codec)
    payload = marshal.encode_result(value)
    plain = msgspec.msgpack.decode(payload) if codec == "msgpack" else msgspec.json.decode(payload)
    assert names_in(plain) == names
    assert marshal.decode_result(payload) == value
    assert marshal.decode_arguments(payload) == (value,)
    # By our own names as well.
    assert marshal.decode_arguments(CODECS[codec].encode(value)) == (value,)


def test_keys_are_opened_as_their_type_alone() -> None:
    numbers = colliding_numbers(14, 6_000, 1_000)
    payload = b"\xdf" + len(numbers).to_bytes(4, "big")
    payload += b"".join(msgspec.msgpack.encode(number) + b"\x80" for number in numbers)
    with pytest.raises(CallError, match="keys of a map collide"):
        marshal_of(dict[int, Leaf], "msgpack").decode_arguments(payload)
    # If no number is expected none is converted: the map stays unchanged, and is refused at the first.
    with pytest.raises(CallError, match="expected `str`, got `int`"):
        marshal_of(dict[str, Leaf], "msgpack").decode_arguments(payload)
    plan = _Plans(msgspec.msgpack).of(msgspec.inspect.type_info(dict[str, Leaf]))
    assert plan is not None
    budget = _Budget(payload)
    assert plan.renamed(payload, budget) is payload
    assert budget.is_unfit


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (set[Cell], {Cell(1)}),
        (frozenset[Cell], frozenset({Cell(1)})),
        (list[set[Cell]], [{Cell(1)}]),
        (set[tuple[Cell, int]], {(Cell(1), 1)}),
    ],
    ids=str,
)
def test_values_of_sets_have_our_names_alone(kind: Any, value: Any, codec: str) -> None:
    marshal = marshal_of(kind, codec)
    payload = marshal.encode_result(value)
    assert b"cell_id" in payload
    assert marshal.decode_result(payload) == value
    with pytest.raises(DecodeError, match="cell_id"):
        marshal.decode_result(CODECS[codec].encode(in_go(CODECS[codec].decode(payload))))


def in_go(value: Any) -> Any:
    """Return a value with `CellID` in the place of `cell_id`."""
    if isinstance(value, list):
        return [in_go(item) for item in value]
    return {"CellID": value["cell_id"]} if isinstance(value, dict) else value


@pytest.mark.parametrize("codec", CODECS)
def test_a_large_tree_comes_back(codec: str) -> None:
    def tree(depth: int) -> Node:
        return Node(depth, [tree(depth - 1) for _ in range(2 if depth else 0)])

    marshal, value = marshal_of(Node, codec), tree(11)
    assert marshal.decode_result(marshal.encode_result(value)) == value


@pytest.mark.parametrize("codec", CODECS)
def test_items_may_be_none_or_others(codec: str) -> None:
    for kind, value in (
        (list[Leaf | None], [None, LEAF, None]),
        (list[Leaf | int | str], [1, LEAF, "one"]),
        (dict[str, Leaf | None], {"a": None, "b": LEAF}),
        (tuple[Leaf | None, int | Leaf], (None, LEAF)),
    ):
        marshal = marshal_of(kind, codec)
        payload = marshal.encode_result(value)
        assert b"LeafID" in payload
        assert marshal.decode_result(payload) == value


GOOD = {"LeafID": 1}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (list[Leaf], [GOOD, GOOD, 0, GOOD, "x"], r"value\[2\]: expected `object`, got `int`"),
        (list[Leaf], [GOOD, {"LeafID": "1"}, 0], r"value\[1\]\.leaf_id: expected `int`, got `str`"),
        (list[Leaf | None], [None, GOOD, 0], r"value\[2\]: expected `object \| null`, got `int`"),
        (list[list[Leaf]], [[GOOD], [GOOD, []]], r"value\[1\]\[1\]: expected `object`, got `array`"),
        (dict[str, Leaf], {"a": GOOD, "b": 0}, r"value\[\.\.\.\]: expected `object`, got `int`"),
        (tuple[Leaf, Leaf], [GOOD, 0], r"value\[1\]: expected `object`, got `int`"),
        (list[Leaf] | int, [GOOD, 0], r"value\[1\]: expected `object`, got `int`"),
        (Box[list[Leaf]], {"TheItem": [GOOD, 0]}, r"value\.the_item\[1\]: expected `object`, got `int`"),
    ],
    ids=str,
)
def test_the_item_that_does_not_fit_is_named(kind: Any, value: Any, text: str, codec: str) -> None:
    with pytest.raises(CallError, match=text):
        marshal_of(kind, codec).decode_arguments(CODECS[codec].encode(value))


def test_an_old_name_wins_over_a_name_of_go() -> None:
    @fastrpc.service("renamed", rpcx="go")
    class Renamed:
        @fastrpc.method(renamed={"UserID": "account"})
        async def pay(self, user_id: int, account: int) -> int:
            return user_id - account

    definition = service_definition(Renamed).methods["pay"]
    options: Any = {"depth": 100, "items": 100, "by_value": True}
    sent = marshal_for(definition, "json", **options).encode_arguments((7, 1), {})
    assert marshal_for(definition, "json", **options).decode_arguments(sent) == (7, 1)


def test_maps_with_keys_of_other_classes_keep_our_names() -> None:
    marshal = marshal_of(dict[PurePath, Leaf], "msgpack")
    payload = marshal.encode_result({PurePath("a"): LEAF})
    assert names_in(msgspec.msgpack.decode(payload)) == {"a", "leaf_id", "made_at", "the_sum"}
    assert marshal.decode_result(payload) == {PurePath("a"): LEAF}


@pytest.mark.parametrize("codec", CODECS)
def test_values_that_do_not_fit_are_refused_as_before(codec: str) -> None:
    encode = CODECS[codec].encode
    for kind, value, text in (
        (Leaf, {"LeafID": "1"}, "expected `int`, got `str`"),
        (Leaf, {"LeafID": 1, "leaf_id": 2}, "'leaf_id' comes twice"),
        (Strict, {"UserID": 1, "Other": 2}, "unknown field"),
        (Cat | Dog, {"type": "Cow", "PetName": "Bo"}, "invalid value$"),
        (Cat | Dog, {"PetName": "Bo"}, "missing required field `type`"),
        (tuple[Leaf, int], [{"LeafID": 1}], "length 2"),
    ):
        with pytest.raises(CallError, match=text):
            marshal_of(kind, codec).decode_arguments(encode(value))
    assert marshal_of(Leaf, codec).decode_arguments(encode({"LeafID": 1, "Other": [2]})) == (Leaf(1),)


@pytest.mark.parametrize("codec", CODECS)
def test_bytes_searched_for_names_of_go_are_limited(codec: str) -> None:
    value: dict[str, Any] = {"junk": "x" * 500_000}
    for _ in range(40):
        value = {"NextOne": value}
    marshal = marshal_of(Chain, codec)
    with pytest.raises(CallError, match="more than 24 times the payload's size"):
        marshal.decode_arguments(CODECS[codec].encode(value))
    del value["NextOne"]["NextOne"]["NextOne"]["NextOne"]["NextOne"]
    assert marshal.decode_arguments(CODECS[codec].encode(value))


def test_names_of_what_any_holds_go_out_only() -> None:
    # Whatever the parameter is.
    for kind in (int, Leaf):
        payload = marshal_of(kind, "json", result=Any).encode_result([{"own_key": LEAF, "n": 1}])
        assert names_in(msgspec.json.decode(payload)) == {"own_key", "n", *LEAF_NAMES}
        assert names_in(marshal_of(Any, "json").decode_result(payload)) == {"own_key", "n", *LEAF_NAMES}


def test_an_object_of_a_subclass_has_its_own_names() -> None:
    marshal = marshal_of(list[Leaf], "json")
    payload = marshal.encode_result([LongLeaf(1, more_of_it=2)])
    assert names_in(msgspec.json.decode(payload)) == {*LEAF_NAMES, "MoreOfIt"}
    assert marshal.decode_result(payload) == [Leaf(1)]


@pytest.mark.parametrize("codec", CODECS)
def test_parameters_of_one_name_in_go_keep_theirs(codec: str) -> None:
    @fastrpc.service("kept", rpcx="go")
    class Kept:
        @fastrpc.method
        async def keep(self, user_id: int, userID: int, the_leaf: Leaf) -> None: ...  # noqa: N803

    method = service_definition(Kept).methods["keep"]
    marshal = marshal_for(method, codec, depth=50, items=1_000, by_value=True)
    payload = marshal.encode_arguments((1, 2, LEAF), {})
    assert names_in(CODECS[codec].decode(payload)) == {"user_id", "userID", "TheLeaf", *LEAF_NAMES}
    assert marshal.decode_arguments(payload) == (1, 2, LEAF)
