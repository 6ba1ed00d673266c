"""Fields that a type does not have, anywhere in a value."""

from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, TypedDict

import msgspec
import pydantic
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


class Pair(NamedTuple):
    limits: Limits
    name: str = ""


class Model(pydantic.BaseModel):
    rate: int = 1
    inner: "Model | None" = None
    pair: Pair | None = None


class Cat(pydantic.BaseModel):
    lives: int


class Dog(pydantic.BaseModel):
    tricks: list[Limits]


class Pets(pydantic.BaseModel):
    all: list[Cat | Dog] = []
    by_name: dict[str, Cat | Dog] = {}


class Aliases(pydantic.BaseModel):
    rate: int = pydantic.Field(1, alias="perSecond")
    zone: str = pydantic.Field("", validation_alias=pydantic.AliasChoices("area", "zone"))
    street: str = pydantic.Field("", validation_alias=pydantic.AliasPath("place", "street"))


class ByName(Aliases):
    model_config = pydantic.ConfigDict(populate_by_name=True)


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    limits: Limits


class Renamed(pydantic.BaseModel):
    rate: int

    @pydantic.model_validator(mode="before")
    @classmethod
    def take_old_name(cls, plain: Any) -> Any:
        return {"rate": plain.get("speed", plain.get("rate"))}


Root = pydantic.RootModel[list[Cat | Dog]]


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
        (Pair, '[{"rate": 1}, ""]', []),
        (list[Pair], '[[{"rat": 1}]]', ["$[0][0].rat"]),
        (Model, '{"rate": 1, "inner": {"rate": 1, "inner": null}, "pair": null}', []),
        (Model, '{"rat": 1, "inner": {"x": 1}, "pair": [{"y": 1}]}', ["$.rat", "$.inner.x", "$.pair[0].y"]),
        (dict[str, Model | None], '{"a": {"rat": 1}}', ["$['a'].rat"]),
        (Pets, '{"all": [{"lives": 9}, {"tricks": [{"rate": 1}]}], "by_name": {"a": {"lives": 1}}}', []),
        (
            Pets,
            '{"all": [{"lives": 9, "x": 1}], "by_name": {"a": {"trick": []}}}',
            ["$.all[0].x", "$.by_name['a'].trick"],
        ),
        (Aliases, '{"perSecond": 1, "area": "a", "place": {"street": "s", "town": "t"}}', []),
        (Aliases, '{"rate": 1, "zone": "z", "street": "s"}', ["$.rate", "$.street"]),
        (ByName, '{"rate": 1, "zone": "z", "street": "s", "perSecond": 1}', []),
        (Open, '{"limits": {"rat": 1}, "more": 1}', ["$.limits.rat"]),
        (Renamed, '{"speed": 1}', []),
        (Root, '[{"lives": 9}, {"lives": 9, "x": 1}]', ["$[1].x"]),
    ],
)
def test_unknown_fields_are_found_by_their_path(kind: Any, text: str, found: list[str]) -> None:
    assert unknown_fields(text.encode(), kind) == found
