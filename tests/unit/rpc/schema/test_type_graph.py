"""What the types of payloads are made of."""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import inspect as schema

from fastrpc.rpc.schema.type_graph import all_parts, parts_of


@dataclass
class Tree:
    name: str
    children: "list[Tree] | None" = None


def kinds_of(*kinds: Any) -> list[str]:
    return sorted(type(part).__name__ for part in all_parts(kinds))


def test_a_recursive_type_is_walked_once() -> None:
    assert kinds_of(Tree) == ["DataclassType", "ListType", "NoneType", "StrType", "UnionType"]


def test_parts_are_the_contents_of_a_value() -> None:
    assert [type(part) for part in parts_of(schema.type_info(dict[int, str]))] == [
        schema.IntType,
        schema.StrType,
    ]
    assert [type(part) for part in parts_of(schema.type_info(tuple[int, str]))] == [
        schema.IntType,
        schema.StrType,
    ]
    assert [type(part) for part in parts_of(schema.type_info(tuple[int, ...]))] == [schema.IntType]
    assert parts_of(schema.type_info(int)) == []
    assert kinds_of() == []


def test_what_metadata_is_about_is_walked() -> None:
    described = Annotated[dict[int, str], msgspec.Meta(description="by number")]
    assert kinds_of(described) == ["DictType", "IntType", "Metadata", "StrType"]
    assert kinds_of(list[described]) == ["DictType", "IntType", "ListType", "Metadata", "StrType"]
