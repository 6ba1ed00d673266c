"""The messages of gRPC's reflection protocol, in which servers send their descriptors.

https://github.com/grpc/grpc-proto/blob/master/grpc/reflection/v1/reflection.proto; v1alpha has the same messages.
"""

import dataclasses
from typing import Annotated

from fastrpc.rpc.protobuf.field import Field

__all__ = [
    "ErrorResponse",
    "ExtensionNumberResponse",
    "ExtensionRequest",
    "FileDescriptorResponse",
    "ListServiceResponse",
    "ServerReflectionRequest",
    "ServerReflectionResponse",
    "ServiceResponse",
]


@dataclasses.dataclass
class ExtensionRequest:
    """A query for an extension: the message that it extends, and its number."""

    containing_type: str = ""
    extension_number: Annotated[int, Field(kind="int32")] = 0


@dataclasses.dataclass
class ServerReflectionRequest:
    """A query. All fields except `host` are members of one oneof."""

    host: str = ""
    file_by_filename: Annotated[str | None, Field(3)] = None
    file_containing_symbol: Annotated[str | None, Field(4)] = None
    file_containing_extension: Annotated[ExtensionRequest | None, Field(5)] = None
    all_extension_numbers_of_type: Annotated[str | None, Field(6)] = None
    list_services: Annotated[str | None, Field(7)] = None


@dataclasses.dataclass
class FileDescriptorResponse:
    """Encoded google.protobuf.FileDescriptorProto: the file that was queried, and its imports."""

    file_descriptor_proto: list[bytes] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class ExtensionNumberResponse:
    """The numbers of the extensions of a message."""

    base_type_name: str = ""
    extension_number: list[Annotated[int, Field(kind="int32")]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class ServiceResponse:
    """A service."""

    name: str = ""


@dataclasses.dataclass
class ListServiceResponse:
    """The services of a server."""

    service: list[ServiceResponse] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class ErrorResponse:
    """The reason why a query has no answer, with the number of a gRPC status."""

    error_code: Annotated[int, Field(kind="int32")] = 0
    error_message: str = ""


@dataclasses.dataclass
class ServerReflectionResponse:
    """An answer, with the query."""

    valid_host: str = ""
    original_request: ServerReflectionRequest | None = None
    file_descriptor_response: Annotated[FileDescriptorResponse | None, Field(4)] = None
    all_extension_numbers_response: Annotated[ExtensionNumberResponse | None, Field(5)] = None
    list_services_response: Annotated[ListServiceResponse | None, Field(6)] = None
    error_response: Annotated[ErrorResponse | None, Field(7)] = None
