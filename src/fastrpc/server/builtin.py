"""`fastrpc.reflection`: the services and methods of a server, for callers that may see them; by gRPC as descriptors."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from fastrpc._core.calls.call import current_call
from fastrpc.config import ServerConfig
from fastrpc.errors import CallError
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.description import describe_services
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
from fastrpc.rpc.service import BUILTIN_PREFIX, method, service
from fastrpc.server.described_files import DescribedFiles, Describing
from fastrpc.status import Status

__all__ = ["BUILTIN_PREFIX", "GrpcReflection", "Reflection", "reflection_for"]


@service("fastrpc.reflection")
class Reflection:
    """List the services of a server to callers that `ServerConfig.reflection` admits."""

    def __init__(
        self,
        services: Callable[[], Iterable[ServiceDefinition]],
        may_call: Callable[[MethodDefinition], bool] = lambda _: True,
    ) -> None:
        self._services = services
        self._may_call = may_call

    @method(idempotent=True)
    async def services(self) -> list[dict[str, Any]]:
        """Return every service: name, version, documentation, and the methods that the caller may call."""
        _check_reveals("fastrpc.reflection.services")
        # Bare functions are only for callers from Go. The types of the other methods would reveal them.
        return describe_services([one for one in self._services() if one.name], self._may_call)


@service("fastrpc.reflection", alias=REFLECTIONS)
class GrpcReflection:
    """List the services of a server to callers that `ServerConfig.reflection` admits, by gRPC as descriptors."""

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
        """Answer questions about descriptors; they name only methods that the caller may call, and their types."""
        _check_reveals(f"{REFLECTIONS[0]}.ServerReflectionInfo")
        sent: set[str] = set()
        async for request in requests:
            # Rights may change while a stream lasts.
            answer = _answer(request, self._describing.files_for(self._may_call), sent)
            answer.valid_host, answer.original_request = request.host, request
            yield answer


def reflection_for(
    config: ServerConfig, services: Sequence[ServiceDefinition], may_call: Callable[[MethodDefinition], bool]
) -> Reflection | GrpcReflection:
    """Return the service of reflection, by the names of gRPC unless one of these services has one of them.

    Args:
        services: those of a server, which may grow.
        may_call: returns whether the caller of the running handler may call a method.
    """
    is_taken = any(one.name in REFLECTIONS for one in services)
    kind = GrpcReflection if "grpc" in config.protocols and not is_taken else Reflection
    return kind(lambda: services, may_call)


def _check_reveals(name: str) -> None:
    connection: Any = getattr(current_call(), "connection", None)
    if connection is not None and not connection.reveals_services:
        # The text of any unknown name: a caller without access cannot detect reflection.
        raise CallError(Status.UNIMPLEMENTED, f"no method {name!r} here")


def _answer(
    request: ServerReflectionRequest, known: DescribedFiles, sent: set[str]
) -> ServerReflectionResponse:
    """Return the answer to a question.

    Args:
        sent: the names of files that the caller has.
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
            # Extensions are described to no caller.
            return ServerReflectionResponse(
                all_extension_numbers_response=ExtensionNumberResponse(base_type_name=asked)
            )
    elif request.file_containing_extension is not None:
        extension = request.file_containing_extension
        asked = f"extension {extension.extension_number} of {extension.containing_type}"
    else:
        return _failed(Status.INVALID_ARGUMENT, "the request asks for nothing")
    if files is None:
        return _failed(Status.NOT_FOUND, f"{asked} is not known here")
    return ServerReflectionResponse(file_descriptor_response=FileDescriptorResponse(files))


def _failed(status: Status, text: str) -> ServerReflectionResponse:
    return ServerReflectionResponse(error_response=ErrorResponse(int(status), text))
