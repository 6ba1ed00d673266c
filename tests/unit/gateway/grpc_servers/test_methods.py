"""Messages of servers of gRPC as values of JSON."""

from typing import Any

import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool

from fastrpc import ConfigError
from fastrpc.gateway.grpc_servers.methods import MessageValues
from tests.support.grpc_desk import POOL


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


def test_an_answer_without_a_form_in_json_is_named() -> None:
    box = MessageValues(POOL.FindMessageTypeByName("shop.Box"), POOL)
    unknown = any_pb2.Any(type_url="type.googleapis.com/else.Where", value=b"1")
    content = b"\x5a" + bytes([unknown.ByteSize()]) + unknown.SerializeToString()
    with pytest.raises(ValueError, match=r"shop\.Box has no form in JSON: .*else\.Where"):
        box.decoded(content)
