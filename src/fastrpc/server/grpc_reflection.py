"""gRPC's reflection service: describes the services and methods of a server as descriptors."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.marking import method
from fastrpc.rpc.protobuf.known_files import REFLECTIONS
from fastrpc.rpc.protobuf.reflection_messages import (
    ErrorResponse,
    ExtensionNumberResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)
from fastrpc.rpc.service import service
from fastrpc.server.builtin import Reflection, check_reveals
from fastrpc.server.described_files import DescribedFiles, Describing
from fastrpc.status import Status

__all__ = ["REFLECTIONS", "GrpcReflection"]


@service("fastrpc.reflection", alias=REFLECTIONS)
class GrpcReflection:
    """Describe the services of a server to callers that `ServerConfig.reflection` admits; in gRPC as descriptors."""

    def __init__(
        self,
        services: Callable[[], Sequence[ServiceDefinition]],
        may_call: Callable[[MethodDefinition], bool] = lambda _: True,
    ) -> None:
        self._reflection = Reflection(services, may_call)
        self._may_call = may_call
        self._describing = Describing(services)

    @method(idempotent=True)
    async def services(self) -> list[dict[str, Any]]:
        """Return every service: name, version, documentation, and the methods that the caller may call."""
        found: list[dict[str, Any]] = await self._reflection.services()
        return found

    @method(alias=("ServerReflectionInfo",), idempotent=True)
    async def info(
        self, requests: AsyncIterator[ServerReflectionRequest]
    ) -> AsyncIterator[ServerReflectionResponse]:
        """Answer queries for descriptors, which contain only methods that the caller may call, and their types."""
        check_reveals(f"{REFLECTIONS[0]}.ServerReflectionInfo")
        sent: set[str] = set()
        async for request in requests:
            # Check permissions for each query, because they may change during the stream.
            answer = _answer(request, self._describing.files_for(self._may_call), sent)
            answer.valid_host, answer.original_request = request.host, request
            yield answer


def _answer(
    request: ServerReflectionRequest, known: DescribedFiles, sent: set[str]
) -> ServerReflectionResponse:
    """Return the answer to a query.

    Args:
        sent: the names of files that the caller already has.
    """
    if request.list_services is not None:
        found = list(map(ServiceResponse, known.services))
        return ServerReflectionResponse(list_services_response=ListServiceResponse(found))
    files = None
    if request.file_by_filename is not None:
        asked, files = request.file_by_filename, known.file(request.file_by_filename, sent)
    elif request.file_containing_symbol is not None:
        asked, files = request.file_containing_symbol, known.of_name(request.file_containing_symbol, sent)
    elif request.all_extension_numbers_of_type is not None:
        asked = request.all_extension_numbers_of_type
        if known.has_name(asked):
            # Extensions are never described.
            return ServerReflectionResponse(
                all_extension_numbers_response=ExtensionNumberResponse(base_type_name=asked)
            )
    elif request.file_containing_extension is not None:
        extension = request.file_containing_extension
        asked = f"extension {extension.extension_number} of {extension.containing_type}"
    else:
        return _failed(Status.INVALID_ARGUMENT, "the request asks for nothing")
    if files is None:
        return _failed(Status.NOT_FOUND, f"{asked} is unknown here")
    return ServerReflectionResponse(file_descriptor_response=FileDescriptorResponse(files))


def _failed(status: Status, text: str) -> ServerReflectionResponse:
    return ServerReflectionResponse(error_response=ErrorResponse(int(status), text))
