"""Fields that a type does not have, anywhere in a value."""

from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import msgspec
import pytest

from fastrpc.coordination.unknown_fields import unknown_fields


@dataclass
class Limits:
    rate: int = 1


@dataclass
class Settings:
    limits: Limits | None = None
    more: list[Limits] = field(default_factory=list)
    by_name: dict[str, Limits] = field(default_factory=dict)
    pair: tuple[int, Limits] | None = None


class Card(msgspec.Struct, tag="card", omit_defaults=True):
    number: int = 0


class Cash(msgspec.Struct, tag="cash", rename="camel"):
    change_of: int = 0


class Row(TypedDict, total=False):
    id: int


class Node(msgspec.Struct):
    next: "Node | None" = None


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        (Limits, '{"rate": 1}', []),
        (Limits, '{"rat": 1, "rate": 1, "x": 2}', ["$.rat", "$.x"]),
        (Settings, '{"limits": null, "more": [], "by_name": {"any": {}}}', []),
        (Settings, '{"limits": {"rat": 1}}', ["$.limits.rat"]),
        (Settings, '{"more": [{}, {"rat": 1}], "pair": [1, {"x": 1}]}', ["$.more[1].rat", "$.pair[1].x"]),
        (Settings, '{"by_name": {"a": {"rat": 1}}}', ["$.by_name['a'].rat"]),
        (list[Card | Cash], '[{"type": "card", "number": 0}, {"type": "cash", "changeOf": 1}]', []),
        (list[Card | Cash], '[{"type": "cash", "change_of": 1}]', ["$[0].change_of"]),
        (Row, '{"id": 1, "name": 1}', ["$.name"]),
        (Node, '{"next": {"next": {"nxt": 1}}}', ["$.next.next.nxt"]),
        (Annotated[int, msgspec.Meta(gt=0)], "1", []),
        (dict[str, Any], '{"a": {"b": 1}}', []),
    ],
)
def test_unknown_fields_are_found_by_their_path(kind: Any, text: str, found: list[str]) -> None:
    assert unknown_fields(text.encode(), kind) == found
