"""Fields in the names of Go: values of every type go out by them, and come back by either name."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import pytest

import fastrpc
from fastrpc.rpc.schema import marshal_for
from fastrpc.rpc.service import service_definition

T = TypeVar("T")
CODECS = {"msgpack": msgspec.msgpack, "json": msgspec.json}


@dataclass
class Leaf:
    leaf_id: int
    made_at: datetime | None = None
    the_sum: Decimal = Decimal("1.10")


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


LEAF = Leaf(1, datetime(2026, 7, 7, tzinfo=UTC), Decimal("2.50"))

#: Types, a value of each, and what stands for it: texts are names of fields.
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
]


def names_in(value: Any) -> set[str]:
    """Return the texts by which the maps in a plain value name something."""
    if isinstance(value, dict):
        found = {key for key in value if isinstance(key, str) and not key.isdigit()}
        return found.union(*map(names_in, value.values()))
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


def marshal_of(kind: Any, codec: str) -> Any:
    async def keep(self: Any, value: Any) -> Any: ...

    keep.__annotations__ = {"value": kind, "return": kind}
    kept = fastrpc.service("kept", rpcx="go")(type("Kept", (), {"keep": fastrpc.method(keep)}))
    method = service_definition(kept).methods["keep"]
    return marshal_for(method, codec, depth=50, items=1_000, by_value=True)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("kind", "value", "names"), CASES)
def test_a_value_goes_out_and_comes_back(kind: Any, value: Any, names: set[str], codec: str) -> None:
    marshal = marshal_of(kind, codec)
    payload = marshal.encode_result(value)
    plain = (
        msgspec.msgpack.decode(payload, strict=False) if codec == "msgpack" else msgspec.json.decode(payload)
    )
    assert names_in(plain) == names
    assert marshal.decode_result(payload) == value
    assert marshal.decode_arguments(payload) == (value,)
    # By our own names as well.
    assert marshal.decode_arguments(CODECS[codec].encode(value)) == (value,)
