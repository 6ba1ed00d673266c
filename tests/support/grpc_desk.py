"""The descriptors of a service of gRPC with each kind of field, and methods of three kinds."""

from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, struct_pb2

__all__ = ["POOL"]

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
