"""`fastrpc.Field`: the number and the kind of a field."""

import dataclasses
from typing import Annotated, Any

import pytest

import fastrpc
from fastrpc.errors import ConfigError
from fastrpc.rpc.protobuf.field import Field, field_in


def serve(kind: Any) -> None:
    """Decorate a service whose one method takes and returns values of a type."""

    async def echo(self: Any, value: Any) -> Any: ...

    echo.__annotations__ = {"value": kind, "return": kind}
    fastrpc.service("shop.echo")(type("Echoes", (), {"echo": fastrpc.method(echo)}))


@pytest.mark.parametrize("number", [1, 18_999, 20_000, 536_870_911])
def test_a_number_is_one_of_protobuf(number: int) -> None:
    assert Field(number).number == number


@pytest.mark.parametrize("number", [0, -1, 536_870_912, 19_000, 19_999, True, 1.0, "1"])
def test_other_numbers_are_refused(number: Any) -> None:
    with pytest.raises(ConfigError, match=r"the number of Field is .*, it must be from 1 to 536,870,911"):
        Field(number)


def test_a_kind_is_one_of_protobuf() -> None:
    assert Field(kind="sint64").kind == "sint64"
    with pytest.raises(ConfigError, match="kind of Field is 'int64', it must be one of int32, uint32"):
        Field(kind="int64")


def test_a_field_that_says_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="no effect"):
        Field()


def test_it_is_a_value() -> None:
    assert Field(3) == Field(3) != Field(4)
    assert hash(Field(3, kind="float")) == hash(Field(3, kind="float"))
    assert (repr(Field(3)), repr(Field(kind="float"))) == ("Field(3)", "Field(kind='float')")
    assert Field(3).__eq__(3) is NotImplemented


def test_the_last_of_several_counts() -> None:
    assert field_in(("text", Field(1), 5, Field(2))) == Field(2)
    assert field_in((Field(kind="uint64"), Field(3))) == Field(3, kind="uint64")
    assert field_in(("text",)) is None


class TestDecoration:
    """What is refused when a service is declared."""

    def test_two_fields_with_one_number(self) -> None:
        @dataclasses.dataclass
        class Order:
            id: Annotated[int, Field(2)]
            name: str

        with pytest.raises(TypeError, match="Order: 'id' and 'name' both have the number 2 in protobuf"):
            serve(Order)

    def test_two_parameters_with_one_number(self) -> None:
        class Orders:
            @fastrpc.method
            async def put(self, id: Annotated[int, Field(2)], name: str) -> None: ...

        with pytest.raises(TypeError, match=r"Orders.put: .*'id' and 'name' both have the number 2"):
            fastrpc.service("shop.orders")(Orders)

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            (Annotated[str, Field(kind="sint32")], r"Field\(kind='sint32'\) is for an int, not for str"),
            (Annotated[int, Field(kind="float")], r"Field\(kind='float'\) is for a float, not for int"),
            (Annotated[bool, Field(kind="int32")], r"is for an int, not for bool"),
            (Annotated[dict[str, int], Field(kind="int32")], r"is for an int, not for dict"),
            (list[Annotated[int, Field(3)]], r"Field\(3\) is inside another type"),
        ],
    )
    def test_a_field_that_does_not_fit_its_type(self, kind: Any, text: str) -> None:
        with pytest.raises(TypeError, match=text):
            serve(kind)

    def test_types_without_a_form_are_left_to_the_first_use(self) -> None:
        serve(list[list[int]])
        serve("Annotated[Unknown, Field(3)]")
