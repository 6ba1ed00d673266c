"""Files known everywhere are, as descriptors, the files of the protobuf package and of grpcio's packages."""

import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    struct_pb2,
    timestamp_pb2,
)
from grpc_reflection.v1alpha import reflection_pb2

from fastrpc.rpc.protobuf.descriptor_wire import imports_in, names_in
from fastrpc.rpc.protobuf.known_files import HEALTH, REFLECTIONS, known_file, service_file

FILE = descriptor_pb2.FileDescriptorProto


def shape_of(messages: object) -> object:
    """Return names, fields and types of messages, without options and names in JSON."""
    return {
        message.name: (
            [
                (one.name, one.number, one.label, one.type, one.type_name, one.HasField("oneof_index"))
                for one in message.field
            ],
            [one.name for one in message.oneof_decl],
            shape_of(message.nested_type),
            [str(one) for one in message.enum_type],
        )
        for message in messages  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("module", [duration_pb2, empty_pb2, struct_pb2, timestamp_pb2])
def test_files_of_google_are_theirs(module: object) -> None:
    theirs = FILE.FromString(module.DESCRIPTOR.serialized_pb)  # type: ignore[attr-defined]
    found = known_file(theirs.name)
    assert found is not None
    ours = FILE.FromString(found)
    assert (ours.name, ours.package, ours.syntax) == (theirs.name, theirs.package, theirs.syntax)
    assert shape_of(ours.message_type) == shape_of(theirs.message_type)
    assert list(ours.enum_type) == list(theirs.enum_type)
    descriptor_pool.DescriptorPool().Add(ours)


def test_another_file_is_not_known() -> None:
    assert known_file("google/protobuf/api.proto") is None


def test_reflection_matches_grpcio() -> None:
    theirs = FILE.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    name, content = service_file(REFLECTIONS[1], ["ServerReflectionInfo"])
    ours = FILE.FromString(content)
    assert (name, ours.package) == (ours.name, REFLECTIONS[1].rpartition(".")[0])
    assert shape_of(ours.message_type) == shape_of(theirs.message_type)
    assert list(ours.service) == list(theirs.service)


def test_a_service_has_the_given_methods_alone() -> None:
    _, content = service_file(HEALTH, ["Watch"])
    assert [one.name for one in FILE.FromString(content).service[0].method] == ["Watch"]


def test_names_of_all_that_a_file_defines_are_read_off_it() -> None:
    _, content = service_file(HEALTH, ["Check", "Watch"])
    place = "grpc.health.v1"
    assert set(names_in(content)) == {
        *(f"{place}.{one}" for one in ("HealthCheckRequest", "HealthCheckRequest.service")),
        *(f"{place}.HealthCheckResponse{one}" for one in ("", ".status", ".ServingStatus")),
        *(
            f"{place}.HealthCheckResponse.{one}"
            for one in ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
        ),
        *(f"{place}.Health{one}" for one in ("", ".Check", ".Watch")),
    }


def test_imports_are_read_off_a_file() -> None:
    file = FILE(name="a.proto", dependency=["b.proto", "c/d.proto"], options={"deprecated": True})
    assert imports_in(file.SerializeToString()) == ["b.proto", "c/d.proto"]
    assert list(names_in(file.SerializeToString())) == []


def test_names_without_a_package_stand_alone() -> None:
    file = FILE(message_type=[{"name": "A", "nested_type": [{"name": "B"}]}])
    assert list(names_in(file.SerializeToString())) == ["A", "A.B"]
