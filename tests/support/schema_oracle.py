"""protobuf's own classes of messages, made from our descriptors, and the services of a single type for them."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.any_pb2 import DESCRIPTOR as ANY_FILE
from google.protobuf.duration_pb2 import DESCRIPTOR as DURATION_FILE
from google.protobuf.empty_pb2 import DESCRIPTOR as EMPTY_FILE
from google.protobuf.field_mask_pb2 import DESCRIPTOR as FIELD_MASK_FILE
from google.protobuf.struct_pb2 import DESCRIPTOR as STRUCT_FILE
from google.protobuf.timestamp_pb2 import DESCRIPTOR as TIMESTAMP_FILE
from google.protobuf.wrappers_pb2 import DESCRIPTOR as WRAPPERS_FILE

import fastrpc
from fastrpc._core.payload.marshal import Marshal
from fastrpc.rpc.protobuf.descriptors import file_descriptor
from fastrpc.rpc.protobuf.imported_files import imported_files
from fastrpc.rpc.protobuf.marshals import message_marshal
from fastrpc.rpc.protobuf.packages import ProtoPackage
from fastrpc.rpc.service import service_definition

__all__ = ["Echo", "class_named", "echo_of", "pool_of"]

#: The files that ours import.
_KNOWN = (
    *(ANY_FILE, DURATION_FILE, EMPTY_FILE, FIELD_MASK_FILE, STRUCT_FILE, TIMESTAMP_FILE),
    WRAPPERS_FILE,
)


def pool_of(*packages: ProtoPackage) -> descriptor_pool.DescriptorPool:
    """Return the descriptors of packages, as protobuf reads them."""
    pool = descriptor_pool.DescriptorPool()
    for file in _KNOWN:
        pool.AddSerializedFile(file.serialized_pb)
    for name, imported in imported_files(packages).items():
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file_descriptor(imported, name)))
    for package in packages:
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file_descriptor(package)))
    return pool


def class_named(pool: descriptor_pool.DescriptorPool, name: str) -> Any:
    """Return the class of a message by its full name."""
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


class Echo:
    """A method that takes and returns a value of one type: its marshal, and protobuf's class of its message."""

    def __init__(self, kind: Any, *, depth: int = 100, items: int = 1_000_000) -> None:
        async def echo(self: Any, value: Any) -> Any: ...

        echo.__annotations__ = {"value": kind, "return": kind}
        owner = type("Oracle", (), {"echo": fastrpc.method(echo)})
        self.definition = service_definition(fastrpc.service("test.v1.oracle")(owner))
        self.method = self.definition.methods["echo"]
        self.package = ProtoPackage("test.v1", [self.definition])
        self.marshal: Marshal = message_marshal(self.method, depth=depth, items=items)
        self.json: Marshal = message_marshal(self.method, depth=depth, items=items, as_json=True)
        messages = self.package.services[0].methods[0].messages
        assert messages is not None
        self.pool = pool_of(self.package)
        self.oracle = class_named(self.pool, self.package.full_name(messages.result))

    def encode(self, value: Any) -> bytes:
        payload: bytes = self.marshal.encode_result(value)
        return payload

    def decode(self, payload: bytes) -> Any:
        return self.marshal.decode_result(payload)


def echo_of(kind: Any) -> Echo:
    """Return the echo of a type."""
    return Echo(kind)
