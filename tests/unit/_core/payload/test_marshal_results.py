"""Results, messages of streams, payload that is one value, methods known only by name."""

from functools import partial
from typing import Any

import msgspec
import pytest

from fastrpc._core.payload.arguments import ArgumentShape, BoundArguments
from fastrpc._core.payload.coders import PayloadCoders
from fastrpc._core.payload.marshal import Marshal
from fastrpc.errors import CallError, DecodeError, EncodeError
from fastrpc.status import Status
from tests.support.marshal_factory import (
    Point,
    encode,
    marshal_of,
    nested,
    refuse,
    refused,
    single,
    untyped,
)


def test_results_travel_alone() -> None:
    marshal = marshal_of(int, result=Point, scan=True)
    assert marshal.decode_result(marshal.encode_result(Point(1, ["x"]))) == Point(1, ["x"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "arith.mul: result: expected `object`, got `str`"),
        ({"x": []}, "arith.mul: result.x: expected `int`, got `array`"),
        (nested(11), "arith.mul: the result: nested deeper than 10 levels"),
        ([0] * 101, "arith.mul: the result: more than 100 items"),
    ],
)
def test_an_answer_that_does_not_fit_is_a_decode_error(value: Any, text: str) -> None:
    with pytest.raises(DecodeError) as raised:
        marshal_of(int, result=Point, scan=True).decode_result(encode(value))
    assert raised.value.message == text
    assert raised.value.processed == "yes"


def test_a_result_without_a_payload_names_the_method() -> None:
    with pytest.raises(
        EncodeError, match=r"arith\.mul: the result, of type object, cannot be encoded as msgpack"
    ):
        marshal_of(int).encode_result(object())


def test_messages_of_the_caller_are_checked_like_arguments() -> None:
    marshal = marshal_of(int, scan=True)
    assert marshal.decode_message(marshal.encode_message(5)) == 5
    with pytest.raises(CallError) as raised:
        marshal.decode_message(encode("x"))
    assert (raised.value.status, raised.value.message) == (
        Status.INVALID_ARGUMENT,
        "message: expected `int`, got `str`",
    )
    with pytest.raises(CallError, match="the message: nested deeper"):
        marshal.decode_message(encode(nested(11)))
    with pytest.raises(EncodeError, match="a message, of type object"):
        marshal.encode_message(object())


# Raw bytes and protobuf messages


def test_raw_payload_is_the_object_itself() -> None:
    marshal = single("raw", 0)
    data = b"x" * 100
    assert marshal.encode_arguments((data,), None) is data
    assert marshal.encode_arguments((), {"data": data}) is data
    assert marshal.decode_arguments(data)[0] is data  # type: ignore[index]
    assert marshal.encode_result(data) is data
    assert marshal.decode_result(data) is data
    assert marshal.decode_message(marshal.encode_message(data)) is data


def test_mutable_raw_payload_is_copied() -> None:
    data = bytearray(b"abc")
    for kind in (bytearray, memoryview):
        sent = single("raw", 0).encode_arguments((kind(data),), None)
        assert type(sent) is bytes
        assert sent == b"abc"
    received = single("raw", 0).decode_arguments(memoryview(data))
    data[0] = 0
    assert received == (b"abc",)


def test_raw_payload_is_bytes_only() -> None:
    with pytest.raises(EncodeError, match=r"files\.put: argument data is str, raw payload is bytes"):
        single("raw", 0).encode_arguments(("text",), None)
    with pytest.raises(EncodeError, match=r"files\.put: the result is NoneType, raw payload is bytes"):
        single("raw", 0).encode_result(None)
    with pytest.raises(TypeError, match="do not fit"):
        single("raw", 0).encode_arguments((), None)


def test_raw_keyword_only_parameter_is_bound_by_name() -> None:
    shape = ArgumentShape(("data",), (True,), refuse, positional=0)
    marshal = Marshal("files.put", shape, single("raw", 0).coders, depth=1, items=1)
    assert marshal.encode_arguments((), {"data": b"x"}) == b"x"
    assert marshal.decode_arguments(b"x") == BoundArguments((), {"data": b"x"})


class Message:
    def __init__(self, text: str) -> None:
        self.text = text

    def SerializeToString(self) -> bytes:
        if self.text == "broken":
            raise RuntimeError("not initialised")
        return self.text.encode()

    @staticmethod
    def FromString(payload: bytes) -> "Message":
        if payload == b"bad":
            raise RuntimeError("Error parsing message")
        return Message(bytes(payload).decode())


def test_a_protobuf_message_is_the_payload() -> None:
    marshal = single("protobuf", 3, decode=Message.FromString)
    assert marshal.encode_arguments((Message("x"),), None) == b"x"
    assert marshal.decode_arguments(b"x")[0].text == "x"  # type: ignore[index]
    assert marshal.decode_result(marshal.encode_result(Message("y"))).text == "y"
    with pytest.raises(EncodeError, match="the result, of type NoneType, cannot be encoded as protobuf"):
        marshal.encode_result(None)


def test_protobuf_failures_are_ours() -> None:
    marshal = single("protobuf", 3, decode=Message.FromString)
    assert refused(marshal, b"bad").message == "data: error parsing message"
    with pytest.raises(DecodeError, match=r"files\.put: result: error parsing message"):
        marshal.decode_result(b"bad")
    with pytest.raises(EncodeError, match=r"argument data, of type Message, .*not initialised"):
        marshal.encode_arguments((Message("broken"),), None)


def test_a_method_without_arguments_has_no_single_payload() -> None:
    marshal = single("protobuf", 3, names=())
    assert marshal.encode_arguments((), None) == b""
    assert marshal.decode_arguments(b"") == ()
    assert refused(marshal, b"x").message == "takes no arguments, got 1 bytes"


# Installed codecs


def test_other_codecs_give_plain_values_that_are_converted() -> None:
    shape = ArgumentShape(("a", "b"), (True, False), refuse, positional=2)
    convert = partial(msgspec.convert, type=Point)
    coders = PayloadCoders(
        "plain",
        64,
        encode=(msgspec.json.encode,) * 3,
        decode=(convert, convert),
        exact=None,
        open=msgspec.json.decode,
        items=(convert, convert),
        scan=(None, None, None),
    )
    marshal = Marshal("shapes.move", shape, coders, depth=1, items=1)
    assert marshal.decode_arguments(b'[{"x": 1}]') == (Point(1),)
    assert marshal.decode_arguments(b'{"b": {"x": 1}, "a": {"x": 2}}') == (Point(2), Point(1))
    assert refused(marshal, b'[{"x": "y"}]').message == "a.x: expected `int`, got `str`"
    assert refused(marshal, b"5").message == "the arguments are int, they must be an array or a map"


# Methods known only by name


def test_calls_by_name_send_array_or_map() -> None:
    assert untyped().encode_arguments((6, 7), None) == encode((6, 7))
    assert untyped().encode_arguments((), {"b": 7}) == encode({"b": 7})
    assert untyped().encode_arguments((6,), {"b": 7}) == encode({0: 6, "b": 7})
    assert untyped("json").encode_arguments((6,), {"b": 7}) == b'{"0":6,"b":7}'
    assert untyped().encode_arguments((), {}) == b"\x90"


def test_untyped_arguments_can_be_read() -> None:
    assert untyped().decode_arguments(encode((1, "x"))) == (1, "x")
    assert untyped().decode_arguments(encode({0: 1, "b": 2})) == BoundArguments((1,), {"b": 2})
    assert "neither names nor positions" in refused(untyped(), encode({1: 1})).message
    assert "neither names nor positions" in refused(untyped(), encode({None: 1})).message
    assert untyped().decode_result(encode([1, {"a": None}])) == [1, {"a": None}]


def test_untyped_arguments_without_a_payload_are_named() -> None:
    with pytest.raises(EncodeError, match="argument 1, of type object"):
        untyped().encode_arguments((1, object()), None)
    with pytest.raises(EncodeError, match="argument b, of type object"):
        untyped().encode_arguments((1,), {"b": object()})
