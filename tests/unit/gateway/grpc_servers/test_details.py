"""Details of errors as values."""

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, timestamp_pb2
from google.rpc import error_details_pb2

from fastrpc.gateway.grpc_servers.details import shown_details
from fastrpc.grpc import AnyMessage

PREFIX = "type.googleapis.com/"


def detail(message: Any) -> AnyMessage:
    return AnyMessage(PREFIX + message.DESCRIPTOR.full_name, message.SerializeToString())


@pytest.mark.parametrize("details", [None, {"at": 7}, [1, "a"], "text"])
def test_plain_values_stay(details: Any) -> None:
    assert shown_details(details) == details


def test_messages_of_google_are_values() -> None:
    messages = [
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)),
        error_details_pb2.BadRequest(field_violations=[{"field": "name", "description": "too long"}]),
        timestamp_pb2.Timestamp(seconds=1),
    ]
    assert shown_details([detail(one) for one in messages]) == [
        {"@type": f"{PREFIX}google.rpc.RetryInfo", "retryDelay": "1.500s"},
        {
            "@type": f"{PREFIX}google.rpc.BadRequest",
            "fieldViolations": [{"field": "name", "description": "too long"}],
        },
        {"@type": f"{PREFIX}google.protobuf.Timestamp", "value": "1970-01-01T00:00:01Z"},
    ]


def test_messages_of_the_server_are_values_by_its_descriptors() -> None:
    pool = descriptor_pool.DescriptorPool()
    field = {"name": "a", "number": 1, "type": 9, "label": 1}
    pool.Add(
        descriptor_pb2.FileDescriptorProto(
            name="a.proto", package="a", syntax="proto3", message_type=[{"name": "Box", "field": [field]}]
        )
    )
    told = AnyMessage("a.Box", b"\n\1x")
    assert shown_details([told], pool) == [{"@type": "a.Box", "a": "x"}]
    # Bytes of another type stay bytes.
    assert shown_details([AnyMessage("a.Box", b"\xff")], pool) == [{"@type": "a.Box", "value": "/w=="}]


def test_messages_of_unknown_types_are_base64() -> None:
    assert shown_details([AnyMessage("x/y.Z", b"\1\2")]) == [{"@type": "x/y.Z", "value": "AQI="}]
