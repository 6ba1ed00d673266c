"""The marshal of a method by gRPC."""

import dataclasses
import enum
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import fastrpc
from fastrpc._core.payload.arguments import BoundArguments
from fastrpc._core.payload.marshal import Marshal
from fastrpc.errors import CallError, ConfigError, DecodeError, EncodeError
from fastrpc.rpc.protobuf.marshals import message_marshal, named_message_marshal
from fastrpc.rpc.service import method_definition
from fastrpc.status import Status
from tests.support.colliding import colliding_numbers
from tests.support.schema_oracle import echo_of


@dataclasses.dataclass
class Order:
    id: int
    names: list[str]
    wanted: "Order | None" = None


@dataclasses.dataclass(frozen=True)
class Change:
    id: int = 7


@fastrpc.service("shop.orders")
class Orders:
    @fastrpc.method
    async def add(self, a: int, b: int = 3, *, note: str = "none") -> int:
        raise NotImplementedError

    @fastrpc.method
    async def put(self, order: Order) -> Order:
        raise NotImplementedError

    @fastrpc.method
    async def change(self, change: Change = Change(1)) -> None: ...

    @fastrpc.method
    async def count(self, orders: AsyncIterator[Order]) -> dict[int, int]:
        raise NotImplementedError

    @fastrpc.method
    async def pick(self, orders: AsyncIterator[int], most: int) -> int:
        raise NotImplementedError

    @fastrpc.method(codec="raw")
    async def copy(self, data: bytes) -> bytes:
        raise NotImplementedError

    @fastrpc.method
    async def stamp(self, at: Timestamp) -> Timestamp:
        raise NotImplementedError

    @fastrpc.method
    async def table(self, rows: list[list[int]]) -> None: ...


def of(method: Any, *, depth: int = 100, items: int = 10_000) -> Marshal:
    return message_marshal(method_definition(method), depth=depth, items=items)


def refused(marshal: Marshal, payload: bytes) -> CallError:
    with pytest.raises(CallError) as caught:
        marshal.decode_arguments(payload)
    return caught.value


def test_arguments_are_fields_by_position() -> None:
    marshal = of(Orders.add)
    payload = marshal.encode_arguments((6, 7), None)
    assert payload == b"\x08\x06\x10\x07"
    bound = marshal.decode_arguments(payload)
    assert isinstance(bound, BoundArguments) or bound == (6, 7)


def test_arguments_that_are_left_out_have_their_default() -> None:
    marshal = of(Orders.add)
    payload = marshal.encode_arguments((6,), {"note": ""})
    assert payload == b"\x08\x06\x1a\x00"
    bound = marshal.decode_arguments(payload)
    assert (bound.args, bound.kwargs) == ((6,), {"note": ""})


def test_no_bytes_are_zeros() -> None:
    assert of(Orders.add).decode_arguments(b"") == (0,)


@dataclasses.dataclass
class Bill:
    prices: list[int]
    total: int = dataclasses.field(init=False)
    state: str = dataclasses.field(default="open", init=False)

    def __post_init__(self) -> None:
        self.total = sum(self.prices)


def test_fields_that_a_class_sets_itself_are_sent() -> None:
    bill = Bill([1, 2])
    bill.state = "paid"
    echo = echo_of(Bill)
    for marshal in (echo.marshal, echo.json):
        assert marshal.decode_arguments(marshal.encode_arguments((bill,), None)) == (bill,)
    assert echo.json.encode_result(bill) == b'{"prices":["1","2"],"total":"3","state":"paid"}'


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Grant:
    all: Rights
    listed: list[Rights] = dataclasses.field(default_factory=list)
    named: dict[str, Rights] = dataclasses.field(default_factory=dict)
    usual: Rights = Rights.READ
    perhaps: Rights | None = None


NOTHING = Rights(0)
GRANTS = [
    Grant(NOTHING),
    Grant(Rights.READ, [NOTHING, Rights.READ | Rights.WRITE], {"a": NOTHING}, NOTHING, NOTHING),
]


@pytest.mark.parametrize("grant", GRANTS)
def test_a_flag_without_members_is_the_zero_of_its_type(grant: Grant) -> None:
    echo = echo_of(Grant)
    for marshal in (echo.marshal, echo.json):
        assert marshal.decode_arguments(marshal.encode_arguments((grant,), None)) == (grant,)
    alone = echo_of(Rights)
    for marshal in (alone.marshal, alone.json):
        assert marshal.decode_result(marshal.encode_result(NOTHING)) == NOTHING
        assert marshal.decode_arguments(marshal.encode_arguments((NOTHING,), None)) == (NOTHING,)
    assert alone.decode(b"") == NOTHING


def test_an_object_is_the_message() -> None:
    marshal = of(Orders.put)
    order = Order(5, ["x"], Order(0, []))
    payload = marshal.encode_arguments((order,), None)
    assert payload == b"\x08\x05\x12\x01x\x1a\x00"
    assert marshal.decode_arguments(payload) == (order,)
    assert marshal.encode_arguments((), {"order": order}) == marshal.encode_result(order) == payload
    assert marshal.decode_result(payload) == order


def test_an_object_with_a_default_is_a_field() -> None:
    marshal = of(Orders.change)
    assert marshal.decode_arguments(b"") == ()
    payload = marshal.encode_arguments((Change(2),), None)
    assert payload == b"\x0a\x02\x08\x02"
    assert marshal.decode_arguments(payload) == (Change(2),)


def test_messages_of_a_stream_carry_its_items() -> None:
    marshal = of(Orders.count)
    assert marshal.encode_arguments((), None) == b""
    assert marshal.decode_arguments(b"") == ()
    payload = marshal.encode_message(Order(5, []))
    assert payload == b"\x08\x05"
    assert marshal.decode_message(payload) == Order(5, [])


def test_faults_of_a_caller_name_the_parameter_and_the_field() -> None:
    error = refused(of(Orders.put), b"\x1a\x02\x12\x00" + b"\x12\x01\xff")
    assert (error.status, error.processed) == (Status.INVALID_ARGUMENT, "no")
    assert "decode" in error.message or "UTF-8" in error.message
    assert refused(of(Orders.put), b"\x08").message == "the arguments: malformed protobuf"


def test_an_absent_message_is_refused() -> None:
    class Pair(msgspec.Struct):
        first: Order

    @fastrpc.service("shop.pairs")
    class Pairs:
        @fastrpc.method
        async def put(self, pair: Pair, note: str) -> None: ...

    marshal = of(Pairs.put)
    assert refused(marshal, b"\x0a\x00").message == "pair: object missing required field `first`"
    assert refused(marshal, b"").status is Status.INVALID_ARGUMENT


def test_depth_and_items_are_bounded() -> None:
    order = Order(1, ["a", "b", "c"], Order(2, []))
    payload = of(Orders.put).encode_arguments((order,), None)
    assert "nested deeper than 2 levels" in refused(of(Orders.put, depth=2), payload).message
    error = refused(of(Orders.put, items=8), payload)
    assert error.status is Status.RESOURCE_EXHAUSTED
    marshal = of(Orders.put)
    marshal.decode_arguments(payload)
    assert marshal.charge > 4 * 72


def test_keys_that_collide_are_refused() -> None:
    marshal = of(Orders.count, items=1_000_000)
    numbers = dict.fromkeys(colliding_numbers(14, 6_000, 1_000), 1)
    with pytest.raises(DecodeError, match="collide"):
        marshal.decode_result(marshal.encode_result(numbers))


def test_values_outside_the_schema_are_refused_before_they_leave() -> None:
    with pytest.raises(
        EncodeError, match=r"argument a, of type int, .*AddRequest.a: 9223372036854775808 is beyond int64"
    ):
        of(Orders.add).encode_arguments((2**63,), None)
    with pytest.raises(EncodeError, match=r"the result, of type Order, .*Order.id: expected int64, got str"):
        of(Orders.put).encode_result(Order("x", []))  # type: ignore[arg-type]


def test_results_are_checked_as_by_other_codecs() -> None:
    with pytest.raises(DecodeError, match="put: the result: malformed protobuf|result: malformed protobuf"):
        of(Orders.put).decode_result(b"\xff")


def test_bytes_and_messages_of_protobuf_are_payloads_as_they_are() -> None:
    assert of(Orders.copy).encode_arguments((b"\x00",), None) == b"\x00"
    stamp = Timestamp(seconds=5)
    assert of(Orders.stamp).encode_arguments((stamp,), None) == stamp.SerializeToString()


def test_a_marshal_is_made_once() -> None:
    assert of(Orders.put) is of(Orders.put) is not of(Orders.put, depth=5)


def test_a_type_without_a_form_is_named_with_a_way_out() -> None:
    with pytest.raises(
        ConfigError, match=r"Orders.table: parameter 'rows' is list\[list\[int\]\], which protobuf"
    ) as caught:
        of(Orders.table)
    assert caught.value.hint


def test_a_stream_is_the_only_parameter() -> None:
    with pytest.raises(ConfigError, match=r"Orders.pick takes a stream and 'most'"):
        of(Orders.pick)


class TestByName:
    """Methods called by their names."""

    def test_messages_are_bytes(self) -> None:
        marshal = named_message_marshal("shop.orders.put", "msgpack", depth=10, items=10)
        assert marshal.encode_arguments((b"\x08\x05",), None) == b"\x08\x05"
        assert marshal.encode_arguments((), None) == b""
        assert marshal.decode_result(b"\x08\x05") == b"\x08\x05"

    def test_other_values_name_both_ways(self) -> None:
        marshal = named_message_marshal("shop.orders.put", "msgpack", depth=10, items=10)
        with pytest.raises(EncodeError, match='takes its message as bytes .*codec="json" and its values'):
            marshal.encode_arguments(({"id": 5},), None)

    def test_json_has_values(self) -> None:
        marshal = named_message_marshal("shop.orders.put", "json", depth=10, items=10)
        assert (
            marshal.encode_arguments(({"id": 5},), None)
            == marshal.encode_arguments((), {"id": 5})
            == b'{"id":5}'
        )
        assert marshal.decode_result(b'{"id":"5"}') == {"id": "5"}
