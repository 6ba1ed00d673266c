"""Methods of servers of gRPC on the command line: texts become a message, and messages values."""

from typing import Any

import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, struct_pb2

from fastrpc import ConfigError
from fastrpc.cli.grpc_servers.described import describe_service
from fastrpc.cli.grpc_servers.methods import GrpcMethod, MessageValues, text_kind

DOUBLE, INT64, BOOL, STRING, MESSAGE, BYTES, ENUM = 1, 3, 8, 9, 11, 12, 14


def field(name: str, number: int, kind: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "number": number, "type": kind, "label": 1, **more}


ENTRY = {
    "name": "PricesEntry",
    "field": [field("key", 1, STRING), field("value", 2, INT64)],
    "options": {"map_entry": True},
}

SIZE = {
    "name": "Size",
    "value": [{"name": "SIZE_NONE", "number": 0}, {"name": "SIZE_LARGE", "number": 1}],
}

BOX = {
    "name": "Box",
    "field": [
        field("item_name", 1, STRING),
        field("count", 2, INT64),
        field("size", 3, ENUM, type_name=".shop.Size"),
        field("is_open", 4, BOOL),
        field("content", 5, BYTES),
        field("weight", 6, DOUBLE),
        field("notes", 7, STRING, label=3),
        field("inner", 8, MESSAGE, type_name=".shop.Box"),
        field("more", 9, MESSAGE, type_name=".google.protobuf.Value"),
        field("prices", 10, MESSAGE, label=3, type_name=".shop.Box.PricesEntry"),
        field("detail", 11, MESSAGE, type_name=".google.protobuf.Any"),
        field("most", 12, INT64, oneof_index=0, proto3_optional=True),
    ],
    "nested_type": [ENTRY],
    "oneof_decl": [{"name": "_most"}],
}

DESK = {
    "name": "Desk",
    "method": [
        {"name": "Put", "input_type": ".shop.Box", "output_type": ".shop.Box"},
        {
            "name": "Send",
            "input_type": ".shop.Box",
            "output_type": ".google.protobuf.Value",
            "client_streaming": True,
        },
        {
            "name": "Ask",
            "input_type": ".google.protobuf.Value",
            "output_type": ".shop.Box",
            "server_streaming": True,
        },
    ],
}


def pool() -> Any:
    found = descriptor_pool.DescriptorPool()
    for module in (struct_pb2, any_pb2):
        found.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    found.Add(
        descriptor_pb2.FileDescriptorProto(
            name="shop.proto",
            package="shop",
            syntax="proto3",
            dependency=["google/protobuf/struct.proto", "google/protobuf/any.proto"],
            enum_type=[SIZE],
            message_type=[BOX],
            service=[DESK],
        )
    )
    return found


POOL = pool()


def method(name: str) -> GrpcMethod:
    return GrpcMethod(POOL.FindServiceByName("shop.Desk").methods_by_name[name], POOL)


def sent(name: str, *texts: str) -> Any:
    """Return the message that texts make, as values."""
    made = method(name)
    [content] = made.prepare(texts, None).args
    return made.request.decoded(content)


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        ((), {}),
        (("12", "3"), {"itemName": "12", "count": "3"}),
        (
            ("item_name=true", "count=-3", "size=SIZE_LARGE"),
            {"itemName": "true", "count": "-3", "size": "SIZE_LARGE"},
        ),
        (("itemName=a", "size=1", "isOpen=True"), {"itemName": "a", "size": "SIZE_LARGE", "isOpen": True}),
        (("content=AAE=", "weight=1"), {"content": "AAE=", "weight": 1.0}),
        (("weight=NaN",), {"weight": "NaN"}),
        (('notes=["a", "b"]', 'prices={"a": 1}'), {"notes": ["a", "b"], "prices": {"a": "1"}}),
        (('inner={"itemName": "b"}', 'more=[1, "x"]'), {"inner": {"itemName": "b"}, "more": [1.0, "x"]}),
        (('{"item_name": "a", "most": 0}',), {"itemName": "a", "most": "0"}),
        (('item_name={"a": 1}',), {"itemName": '{"a": 1}'}),
    ],
)
def test_arguments_are_fields(texts: tuple[str, ...], values: Any) -> None:
    assert sent("Put", *texts) == values


@pytest.mark.parametrize("text", ["[1]", "7", "word", '{"a": 1}'])
def test_a_known_type_is_one_value(text: str) -> None:
    values = {"[1]": [1.0], "7": 7.0, "word": "word", '{"a": 1}': {"a": 1.0}}
    assert sent("Ask", text) == values[text]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("nme=x",), "shop.Box has no field 'nme'"),
        (("a", "item_name=b"), "argument 'item_name' is given twice"),
        (("itemName=a", "item_name=b"), "argument 'item_name' is given twice"),
        (("count=x",), "the values do not fit shop.Box: "),
        (("size=SIZE_HUGE",), "the values do not fit shop.Box: "),
        (('{"nope": 1}',), 'no field named "nope"'),
        (("1",) * 13, "13 arguments are given by position, shop.Box has 12 fields"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(texts: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        method("Put").prepare(texts, None)
    assert said in str(refused.value)


def test_a_message_nested_too_deep_is_refused() -> None:
    value: Any = {}
    for _ in range(200):
        value = {"inner": value}
    with pytest.raises(ConfigError, match="do not fit"):
        MessageValues(POOL.FindMessageTypeByName("shop.Box"), POOL).encoded(value)


def test_a_required_field_without_a_value_is_named() -> None:
    # Of proto2, as descriptors are.
    option = descriptor_pb2.UninterpretedOption.DESCRIPTOR
    values = MessageValues(option, descriptor_pool.Default())
    with pytest.raises(
        ConfigError, match=r"do not fit google.protobuf.*: required are name\[0\]\.is_extension"
    ):
        values.encoded({"name": [{"name_part": "a"}]})
    assert values.encoded({"name": [{"name_part": "a", "is_extension": True}]})


def test_a_stream_is_marked_and_alone() -> None:
    made = method("Send")
    assert (made.kind, made.takes_stream, made.gives_stream) == ("client_stream", True, False)
    assert made.prepare(["-"], None).has_input
    for texts in ([], ["a"], ["-", "a"]):
        with pytest.raises(ConfigError, match="a stream of messages alone"):
            made.prepare(texts, None)


def test_an_answer_without_a_form_in_json_is_named() -> None:
    box = MessageValues(POOL.FindMessageTypeByName("shop.Box"), POOL)
    unknown = any_pb2.Any(type_url="type.googleapis.com/else.Where", value=b"1")
    content = b"\x5a" + bytes([unknown.ByteSize()]) + unknown.SerializeToString()
    with pytest.raises(ValueError, match=r"shop\.Box has no form in JSON: .*else\.Where"):
        box.decoded(content)


def test_types_of_fields_are_those_of_the_command_line() -> None:
    box = POOL.FindMessageTypeByName("shop.Box")
    assert {one.name: text_kind(one) for one in box.fields} == {
        "item_name": "str",
        "count": "int",
        "size": "int | str",
        "is_open": "bool",
        "content": "str",
        "weight": "float | str",
        **dict.fromkeys(("notes", "inner", "more", "prices", "detail"), "object"),
        "most": "int",
    }


def test_services_are_described_with_their_fields() -> None:
    put, send, ask = describe_service(POOL.FindServiceByName("shop.Desk"))["methods"]
    assert put["signature"] == (
        "Put(item_name: string, count: int64, size: Size, is_open: bool, content: bytes, weight: double,"
        " notes: repeated string, inner: Box, more: google.protobuf.Value, prices: map<string, int64>,"
        " detail: google.protobuf.Any, most: optional int64) -> Box"
    )
    assert send["signature"] == "Send(stream Box) -> google.protobuf.Value"
    assert (ask["kind"], ask["result"]) == ("server_stream", "stream Box")
