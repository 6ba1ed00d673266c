"""JSON of messages, as protobuf has it."""

import dataclasses
import enum
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import pytest

import fastrpc
from fastrpc.errors import CallError, ConfigError, DecodeError, EncodeError
from fastrpc.rpc.protobuf.marshals import message_marshal
from fastrpc.rpc.service import method_definition
from fastrpc.status import Status
from tests.support.schema_oracle import echo_of


class Color(enum.Enum):
    RED = "r"
    DARK_BLUE = "b"


class Level(enum.IntEnum):
    NONE = 0
    LOW = 1


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    age: int


@dataclasses.dataclass
class Order:
    order_id: int
    color: Color = Color.RED
    level: Level = Level.NONE
    data: bytes = b""
    pet: Cat | Dog | None = None
    made: datetime | None = None
    took: timedelta | None = None
    counts: dict[int, bool] = dataclasses.field(default_factory=dict)
    small: Annotated[int, fastrpc.Field(kind="int32")] = 0
    more: Any = None


ECHO = echo_of(Order)


def written(value: Any) -> Any:
    return msgspec.json.decode(ECHO.json.encode_result(value))


def read(text: str) -> Any:
    return ECHO.json.decode_result(text.encode())


def test_names_are_in_camel_case_and_wide_integers_are_text() -> None:
    order = Order(5, Color.DARK_BLUE, Level.LOW, b"\xff\xfe", Dog(3), small=7, counts={1: True})
    assert written(order) == {
        "orderId": "5",
        "color": "COLOR_DARK_BLUE",
        "level": "LEVEL_LOW",
        "data": "//4=",
        "pet": {"dog": {"age": "3"}},
        "counts": {"1": True},
        "small": 7,
    }


def test_zeros_are_left_out_unless_absence_is_something_else() -> None:
    assert written(Order(0)) == {"color": "COLOR_RED"}


def test_both_names_and_either_form_of_a_number_are_read() -> None:
    for text in ('{"orderId": "5"}', '{"order_id": 5}', '{"orderId": 5.0}'):
        assert read(text).order_id == 5


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ('{"color": "COLOR_DARK_BLUE"}', "color", Color.DARK_BLUE),
        ('{"color": 2}', "color", Color.DARK_BLUE),
        ('{"color": "COLOR_UNSPECIFIED"}', "color", Color.RED),
        ('{"color": null}', "color", Color.RED),
        ('{"data": "__4"}', "data", b"\xff\xfe"),
        ('{"data": "//4="}', "data", b"\xff\xfe"),
        ('{"pet": {"cat": {"name": "x"}}}', "pet", Cat("x")),
        ('{"pet": {}}', "pet", None),
        ('{"made": "2026-01-31T12:00:00.123456789Z"}', "made", datetime(2026, 1, 31, 12, 0, 0, 123_456, UTC)),
        ('{"made": "2026-01-31T14:00:00+02:00"}', "made", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ('{"took": "-1.5s"}', "took", timedelta(seconds=-1.5)),
        ('{"counts": {"-3": true}}', "counts", {-3: True}),
        ('{"more": {"a": [1, null]}}', "more", {"a": [1, None]}),
        ('{"unknown": [1, {}], "small": 3}', "small", 3),
    ],
)
def test_forms_of_protobuf_are_read(text: str, name: str, value: Any) -> None:
    assert getattr(read(text), name) == value


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"orderId": "x"}', "Order.order_id: expected an integer, got a text"),
        ('{"orderId": true}', "Order.order_id: expected an integer, got a bool"),
        ('{"orderId": 1.5}', "Order.order_id: expected an integer, got a number"),
        ('{"orderId": "9223372036854775808"}', "Order.order_id: 9223372036854775808 is beyond int64"),
        ('{"small": 2147483648}', "Order.small: 2147483648 is beyond int32"),
        ('{"color": "RED"}', "Order.color: 'RED' is not a member of Color"),
        ('{"color": 7}', "Order.color: 7 is not a member of Color"),
        ('{"level": "HIGH"}', "Order.level: 'HIGH' is not a member of Level"),
        ('{"data": "*"}', "Order.data: expected base64"),
        ('{"data": 5}', "Order.data: expected base64, got a number"),
        ('{"pet": {"cat": {}, "dog": {}}}', "only one field of CatOrDog may be given, not cat and dog"),
        ('{"pet": []}', "expected an object as CatOrDog, got a list"),
        ('{"made": "yesterday"}', "Order.made: expected a time such as"),
        ('{"made": "2026-13-01T00:00:00Z"}', "Order.made: month must be in 1..12"),
        ('{"took": "5"}', "Order.took: expected a duration such as 1.5s"),
        ('{"counts": {"x": true}}', "Order.counts: expected an integer, got a text"),
        ('{"counts": []}', "Order.counts: expected an object, got a list"),
        ('{"orderId": 1, "order_id": 1}', "Order.order_id: comes twice, by both of its names"),
        ('{"small": 1, "small": 1}', "'small' comes twice in one object"),
        ("[]", "expected an object as Order, got a list"),
        ("{", "truncated"),
    ],
)
def test_other_texts_are_refused_with_the_name_of_the_field(text: str, error: str) -> None:
    with pytest.raises(DecodeError) as caught:
        read(text)
    assert error in caught.value.message


def test_depth_and_items_are_bounded() -> None:
    definition = method_definition(ECHO.method.function)
    deep = message_marshal(definition, depth=3, items=100, as_json=True)
    with pytest.raises(DecodeError, match="nested deeper than 3 levels"):
        deep.decode_result(b'{"more": [[[]]]}')
    with pytest.raises(CallError) as caught:
        deep.decode_arguments(b'{"more": [' + b"1," * 100 + b"1]}")
    assert caught.value.status is Status.RESOURCE_EXHAUSTED


def test_values_outside_the_schema_are_refused() -> None:
    with pytest.raises(EncodeError, match="Order.order_id: 9223372036854775808 is beyond int64"):
        written(Order(2**63))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_float_is_written_unchanged(sign: int) -> None:
    largest = sign * float.fromhex("0x1.fffffep+127")
    echo = echo_of(Annotated[float, fastrpc.Float32])
    assert msgspec.json.decode(echo.json.encode_result(largest)) == {"value": largest}


@pytest.mark.parametrize("value", [float("inf"), float("nan"), {"x": [1, float("-inf")]}])
def test_a_value_of_any_type_has_the_numbers_of_json(value: Any) -> None:
    with pytest.raises(EncodeError, match="NaN and infinity are not numbers of JSON"):
        written(Order(1, more=value))


def test_arguments_are_an_object_by_name() -> None:
    @fastrpc.service("shop.items")
    class Items:
        @fastrpc.method
        async def put(self, item_id: int, count: int = 3) -> None: ...

    marshal = message_marshal(method_definition(Items.put), depth=9, items=99, as_json=True)
    assert marshal.encode_arguments((5,), None) == b'{"itemId":"5"}'
    assert marshal.encode_arguments((0, 0), None) == b'{"count":"0"}'
    assert marshal.decode_arguments(b'{"item_id": 5}') == (5,)
    assert marshal.encode_result(None) == b"{}"
    assert marshal.decode_result(b"{}") is None


def test_messages_of_the_program_have_no_json() -> None:
    @fastrpc.service("shop.bytes")
    class Bytes:
        @fastrpc.method(codec="raw")
        async def copy(self, data: bytes) -> bytes:
            return data

    with pytest.raises(ConfigError, match=r"shop.bytes.copy has generated messages"):
        message_marshal(method_definition(Bytes.copy), depth=9, items=99, as_json=True)
