"""`Field(oneof=…)`: fields of which a message has at most one."""

import dataclasses
from typing import Annotated, Any, NamedTuple

import msgspec
import pytest

import fastrpc
from fastrpc import Field
from fastrpc.errors import CallError, ConfigError, DecodeError, EncodeError
from fastrpc.rpc.protobuf.derivation import Derivation
from fastrpc.rpc.protobuf.field import FieldError
from fastrpc.rpc.protobuf.marshals import message_marshal
from fastrpc.rpc.protobuf.text import proto_text
from fastrpc.rpc.service import method_definition
from tests.support.schema_oracle import Echo


@dataclasses.dataclass
class Company:
    name: str = ""


@dataclasses.dataclass
class Car:
    id: str = ""
    person: Annotated[str | None, Field(2, oneof="owner")] = None
    company: Annotated[Company | None, Field(3, oneof="owner")] = None
    code: Annotated[int | None, Field(5, kind="sint32", oneof="look")] = None
    picture: Annotated[bytes | None, Field(6, oneof="look")] = None
    number: Annotated[int | None, Field(7, oneof="owner")] = None


class Row(msgspec.Struct, array_like=True):
    a: Annotated[str | None, Field(oneof="one")] = None
    b: Annotated[int | None, Field(oneof="one")] = None


class Loose(msgspec.Struct):
    a: Annotated[str | msgspec.UnsetType, Field(oneof="one")] = msgspec.UNSET
    b: Annotated[int | msgspec.UnsetType, Field(oneof="one")] = msgspec.UNSET


class Pair(NamedTuple):
    first: Annotated[str | None, Field(oneof="one")] = None
    second: Annotated[int | None, Field(oneof="one")] = None


@fastrpc.service("shop.v1.cars")
class Cars:
    @fastrpc.method
    async def find(
        self,
        plate: Annotated[str | None, Field(oneof="by")] = None,
        number: Annotated[int | None, Field(oneof="by")] = None,
    ) -> Car:
        raise NotImplementedError


@pytest.fixture(scope="module")
def cars() -> Echo:
    return Echo(Car)


@pytest.mark.parametrize(
    "car",
    [
        Car("a"),
        Car("a", person="bob"),
        Car("a", person=""),
        Car("a", company=Company("Acme")),
        Car("a", company=Company()),
        Car("a", number=0, code=0),
        Car("a", number=7, picture=b""),
        Car(code=-3),
    ],
    ids=str,
)
def test_one_field_of_each_comes_back(cars: Echo, car: Car) -> None:
    payload = cars.encode(car)
    message = cars.oracle.FromString(payload)
    assert message.WhichOneof("owner") == next(
        (name for name in ("person", "company", "number") if getattr(car, name) is not None), None
    )
    assert cars.decode(message.SerializeToString()) == car
    assert cars.json.decode_result(cars.json.encode_result(car)) == car


def test_the_last_one_on_the_wire_counts(cars: Echo) -> None:
    person, company = cars.encode(Car(person="bob")), cars.encode(Car(company=Company("Acme")))
    number, look = cars.encode(Car(number=0)), cars.encode(Car(code=5))
    assert cars.decode(person + company) == Car(company=Company("Acme"))
    assert cars.decode(company + person + look) == Car(person="bob", code=5)
    assert cars.decode(company + number + company) == Car(company=Company("Acme"))
    # A message that comes twice is the sum of its parts, unless another member was between them.
    assert cars.decode(company + b"\x1a\x00") == Car(company=Company("Acme"))
    assert cars.decode(company + person + b"\x1a\x00") == Car(company=Company())


@pytest.mark.parametrize("value", [Car(person="a", number=1), Car(company=Company(), person="")])
def test_two_fields_of_one_oneof_are_refused_before_they_leave(cars: Echo, value: Car) -> None:
    with pytest.raises(
        EncodeError, match=r"Car\.person and Car\.\w+ are in one oneof, and at most one"
    ) as caught:
        cars.encode(value)
    assert "may be set" in caught.value.message
    with pytest.raises(EncodeError, match="are in one oneof"):
        cars.json.encode_result(value)


def test_json_with_two_fields_of_one_oneof_is_refused(cars: Echo) -> None:
    with pytest.raises((DecodeError, CallError), match=r"Car\.person and Car\.number are in one oneof"):
        cars.json.decode_result(b'{"person": "a", "number": "1"}')


@pytest.mark.parametrize(
    ("one", "both"),
    [(Row(b=0), Row("a", 0)), (Loose(a=""), Loose("a", 1)), (Pair(second=5), Pair("a", 5))],
    ids=str,
)
def test_every_kind_of_class_has_them(one: Any, both: Any) -> None:
    echo = Echo(type(one))
    assert echo.oracle.FromString(echo.encode(one)).WhichOneof("one") is not None
    assert echo.decode(echo.encode(one)) == one
    with pytest.raises(EncodeError, match="are in one oneof"):
        echo.encode(both)


def test_messages_within_messages_have_their_own() -> None:
    @dataclasses.dataclass
    class Many:
        cars: list[Car] = dataclasses.field(default_factory=list)
        first: Annotated[Car | None, Field(2, oneof="either")] = None
        other: Annotated[int | None, Field(3, oneof="either")] = None

    echo = Echo(Many)
    many = Many([Car(person="a"), Car(number=1), Car(code=1, person="b")] * 40, Car(person="c", code=2))
    assert echo.decode(echo.encode(many)) == many
    with pytest.raises(EncodeError, match=r"Car\.person and Car\.number"):
        echo.encode(Many([Car(person="a"), Car("x", "a", number=1)]))
    with pytest.raises(EncodeError, match=r"Many\.first and Many\.other"):
        echo.encode(Many([], Car(person="a"), 5))
    assert echo.decode(echo.encode(many)) == many


def test_parameters_may_be_in_one() -> None:
    marshal = message_marshal(method_definition(Cars.find), depth=100, items=10_000)
    assert marshal.decode_arguments(marshal.encode_arguments((None, 0), None)) == (None, 0)
    assert marshal.decode_arguments(marshal.encode_arguments(("", None), None)) == ("", None)
    with pytest.raises(EncodeError, match=r"FindRequest\.plate and FindRequest\.number are in one oneof"):
        marshal.encode_arguments(("x", 1), None)


def test_the_proto_file_has_them(cars: Echo) -> None:
    assert """message Car {
  string id = 1;
  oneof owner {
    string person = 2;
    Company company = 3;
    int64 number = 7;
  }
  oneof look {
    sint32 code = 5;
    bytes picture = 6;
  }
}
""" in proto_text(cars.package)


@pytest.mark.parametrize(
    ("annotation", "default", "text"),
    [
        (Annotated[str, Field(oneof="x")], "", "so it may be absent: write str | None"),
        (Annotated[Company, Field(oneof="x")], dataclasses.MISSING, "may be absent"),
        (Annotated[list[str], Field(oneof="x")], None, "holds no list and no map"),
        (Annotated[dict[str, int], Field(oneof="x")], None, "holds no list and no map"),
        (list[Annotated[str, Field(oneof="x")]], None, "is inside another type"),
    ],
)
def test_a_field_that_is_always_present_cannot_be_in_a_oneof(
    annotation: Any, default: Any, text: str
) -> None:
    cls = dataclasses.make_dataclass("Wrong", [("value", annotation, dataclasses.field(default=default))])
    with pytest.raises(FieldError) as caught:
        Derivation().message(cls)
    assert text in str(caught.value)


def test_a_oneof_has_another_name_than_the_fields() -> None:
    cls = dataclasses.make_dataclass("Wrong", [("owner", Annotated[str | None, Field(oneof="owner")], None)])
    with pytest.raises(FieldError, match="'owner' is the name of a field and of a oneof"):
        Derivation().message(cls)


@pytest.mark.parametrize("name", ["", "a-b", "größe", "1a", 5])
def test_a_oneof_has_a_valid_name_of_protobuf(name: Any) -> None:
    with pytest.raises(ConfigError, match="oneof of Field is .*, it must be of ASCII letters"):
        Field(oneof=name)
