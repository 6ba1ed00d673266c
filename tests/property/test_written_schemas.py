"""The .proto files that we write, as protoc reads them: the same descriptors as ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings

import fastrpc
from fastrpc.rpc.protobuf.descriptors import file_descriptor, file_name
from fastrpc.rpc.protobuf.packages import ProtoPackage, packages_of
from fastrpc.rpc.protobuf.text import proto_text
from fastrpc.rpc.service import service_definition
from tests.support.schema_oracle import Echo
from tests.support.schema_types import classes

INCLUDED = Path(str(protoc.__file__)).with_name("_proto")


def compiled(package: ProtoPackage, folder: Path) -> descriptor_pb2.FileDescriptorProto:
    """Return the descriptor that protoc makes of a package's file."""
    file = folder / file_name(package)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(proto_text(package))
    made = folder / "made.pb"
    arguments = ["protoc", f"-I{folder}", f"-I{INCLUDED}", f"--descriptor_set_out={made}", str(file)]
    assert protoc.main(arguments) == 0
    (found,) = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(classes())
def test_protoc_reads_the_schema_that_we_describe(tmp_path: Path, made: tuple[Any, list[Any]]) -> None:
    cls, _ = made
    package = Echo(cls).package
    found = compiled(package, tmp_path)
    ours = descriptor_pb2.FileDescriptorProto.FromString(file_descriptor(package))
    assert sorted_parts(found) == sorted_parts(ours)


@dataclass
class Order:
    id: int


@fastrpc.service("shop.v1.orders", grpc="pascal")
class Orders:
    @fastrpc.method
    async def order(self, order: Order) -> Order:
        return order


def test_protoc_finds_a_message_that_a_method_is_called_like(tmp_path: Path) -> None:
    (package,) = packages_of([service_definition(Orders)])
    (service,) = compiled(package, tmp_path).service
    assert (service.method[0].name, service.method[0].input_type) == ("Order", ".shop.v1.Order")


def sorted_parts(file: descriptor_pb2.FileDescriptorProto) -> bytes:
    """Return a descriptor without the parts that depend only on the place of a file."""
    file.dependency[:] = sorted(file.dependency)
    for message in file.message_type:
        for option in [message, *message.nested_type]:
            option.options.SetInParent()
    for service in file.service:
        for method in service.method:
            method.ClearField("options")
    return file.SerializeToString(deterministic=True)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    package = Echo(int).package
    package.services[0] = package.services[0]._replace(name="no name")
    with pytest.raises(AssertionError):
        compiled(package, tmp_path)
