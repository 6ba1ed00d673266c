"""What the types of payloads are made of."""

from dataclasses import dataclass
from types import GenericAlias
from typing import Annotated, Any, TypeVar, TypeVarTuple, Unpack

import msgspec
import numpy
import pytest
from msgspec import inspect as schema

from fastrpc.rpc.schema.annotation import unaliased
from fastrpc.rpc.schema.type_graph import all_annotations, all_parts, parts_of


@dataclass
class Tree:
    name: str
    children: "list[Tree] | None" = None


T = TypeVar("T")


class ArrayOf:
    """As `type ArrayOf[T] = numpy.ndarray[Any, numpy.dtype[T]]` of Python 3.12, and `NDArray` of numpy 2.5."""

    __value__ = numpy.ndarray[Any, numpy.dtype[T]]  # type: ignore[type-var]
    __type_params__ = (T,)


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


def test_types_inside_metadata_annotations_are_walked() -> None:
    described = Annotated[dict[int, str], msgspec.Meta(description="by number")]
    assert kinds_of(described) == ["DictType", "IntType", "Metadata", "StrType"]
    assert kinds_of(list[described]) == ["DictType", "IntType", "ListType", "Metadata", "StrType"]


def test_a_name_of_a_type_stands_for_it_with_its_arguments() -> None:
    named = GenericAlias(ArrayOf(), (numpy.float64,))  # type: ignore[arg-type]
    array = numpy.ndarray[Any, numpy.dtype[numpy.float64]]
    assert list(all_annotations([named])) == [named, array]


Items = TypeVarTuple("Items")


class RowOf:
    """As `type RowOf[*Items] = tuple[*Items]` of Python 3.12."""

    __value__ = tuple[Unpack[Items]]  # type: ignore[misc]
    __type_params__ = (Items,)


def test_a_name_with_any_number_of_arguments_is_unchanged() -> None:
    row = GenericAlias(RowOf(), (int, str))  # type: ignore[arg-type]
    assert unaliased(row) is row
    assert set(all_annotations([row])) == {row, int, str}


def test_a_class_with_a_value_is_no_name() -> None:
    class Constant:
        __value__ = 3
        # As every class of Python 3.12.
        __type_params__ = ()

    assert unaliased(Constant) is Constant


class NestOf:
    """As `type NestOf[T] = list[NestOf[list[T]]]` of Python 3.12."""

    __type_params__ = (T,)

    @property
    def __value__(self) -> Any:
        return list[GenericAlias(self, (list[T],))]  # type: ignore[arg-type,misc,valid-type]


def test_a_name_that_grows_without_end_is_refused() -> None:
    with pytest.raises(TypeError, match="names itself"):
        list(all_annotations([GenericAlias(NestOf(), (int,))]))  # type: ignore[arg-type]
