"""The descriptors of a gRPC server from its reflection: version 1, or v1alpha if the server has no other."""

import re
from collections.abc import AsyncIterator, Sequence
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from typing import Any, Final

from fastrpc.errors import CallError, ConfigError, DecodeError
from fastrpc.rpc.description import nearest_name
from fastrpc.rpc.marking import method
from fastrpc.rpc.protobuf.known_files import REFLECTIONS
from fastrpc.rpc.protobuf.reflection_messages import ServerReflectionRequest, ServerReflectionResponse
from fastrpc.rpc.service import service
from fastrpc.status import Status

__all__ = ["OWN_PREFIXES", "ServerDescriptors", "check_protobuf", "is_grpc"]

#: The beginnings of the names of gRPC's own services.
OWN_PREFIXES: Final = ("grpc.health.", "grpc.reflection.")

#: Most files of one service: a server could name further imports for ever.
MOST_FILES: Final = 2000

_REFLECTION_METHOD: Final = re.compile(
    r"^(fastrpc\.reflection|grpc\.reflection\.\w+\.ServerReflection)\.\w+: "
)

_KNOWN: Final = (
    *("any", "api", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type"),
    "wrappers",
)


def is_grpc(address: str) -> bool:
    """Return whether an address is one of gRPC."""
    return address.lower().startswith(("grpc://", "grpcs://"))


@service(REFLECTIONS[0])
class _Newer:
    """Reflection by its current name."""

    @method("ServerReflectionInfo", idempotent=True)
    def info(
        self, requests: AsyncIterator[ServerReflectionRequest]
    ) -> AsyncIterator[ServerReflectionResponse]:
        raise NotImplementedError


@service(REFLECTIONS[1])
class _Older:
    """Reflection by its former name."""

    @method("ServerReflectionInfo", idempotent=True)
    def info(
        self, requests: AsyncIterator[ServerReflectionRequest]
    ) -> AsyncIterator[ServerReflectionResponse]:
        raise NotImplementedError


class ServerDescriptors:
    """The descriptors of one server.

    Args:
        view: a client of the server.
        address: the name of the server in errors.

    Raises:
        ConfigError: the protobuf package is not installed.
    """

    def __init__(self, view: Any, address: str) -> None:
        check_protobuf(f"{address} is a server of gRPC, whose messages")
        from google.protobuf import descriptor_pool

        self._view = view
        self._address = address
        self._version: Any = _Newer
        self._files: dict[str, Any] = {}
        self.pool: Any = descriptor_pool.DescriptorPool()

    async def services(self) -> list[str]:
        """Return the names of the services.

        Raises:
            CallError: the server has no reflection, or refuses it.
        """
        answer = await self._asked(ServerReflectionRequest(list_services=""))
        told = answer.list_services_response
        return sorted({one.name for one in told.service}) if told is not None else []

    async def service(self, name: str) -> Any:
        """Return the descriptor of a service.

        Raises:
            CallError: the server has no such service, or no reflection.
            DecodeError: the server's descriptors are malformed.
        """
        await self._load(name)
        try:
            return self.pool.FindServiceByName(name)
        except KeyError:
            raise await self._unknown(name) from None

    async def method(self, name: str) -> Any:
        """Return the descriptor of a method by its full name.

        Raises:
            CallError: the server has no such method, or no reflection.
            DecodeError: the server's descriptors are malformed.
        """
        owner, _, own = name.replace("/", ".").rpartition(".")
        if not owner:
            raise ConfigError(
                f"{name!r} is not the full name of a method", hint="write package.Service.Method"
            )
        found = await self.service(owner)
        if own in found.methods_by_name:
            return found.methods_by_name[own]
        raise _absent(f"{owner} has no method {own!r}", own, [one.name for one in found.methods])

    async def files(self, names: Sequence[str]) -> list[Any]:
        """Return the files of services and their imports; each file follows its imports.

        Raises:
            CallError: the server lacks one of these services, or has no reflection.
            DecodeError: the server's descriptors are malformed.
        """
        found: dict[str, Any] = {}
        for name in names:
            _collect((await self.service(name)).file, found)
        return list(found.values())

    async def _unknown(self, name: str) -> CallError:
        return _absent(f"{self._address} has no service {name!r}", name, await self.services())

    async def _load(self, symbol: str) -> None:
        """Add the file that defines a name to the pool, with everything that it imports."""
        answer = await self._asked(ServerReflectionRequest(file_containing_symbol=symbol))
        if answer.file_descriptor_response is None:
            raise await self._unknown(symbol)
        known = set(self._files)
        self._read(answer.file_descriptor_response.file_descriptor_proto)
        missing = self._missing()
        while missing:
            for name in missing:
                answer = await self._asked(ServerReflectionRequest(file_by_filename=name))
                told = answer.file_descriptor_response
                self._read([] if told is None else told.file_descriptor_proto)
                # A file that the server does not return is known to all programs, or contains only options.
                self._files.setdefault(name, None)
            missing = self._missing()
        self._add([name for name in self._files if name not in known])

    def _missing(self) -> list[str]:
        imported = {name for file in self._files.values() if file is not None for name in file.dependency}
        return sorted(imported - self._files.keys())

    def _read(self, files: Sequence[bytes]) -> None:
        from google.protobuf.descriptor_pb2 import FileDescriptorProto
        from google.protobuf.message import DecodeError as MalformedError

        for content in files:
            try:
                file = FileDescriptorProto.FromString(content)
            except MalformedError as error:
                raise DecodeError(f"{self._address} sends a malformed descriptor: {error}") from None
            self._files.setdefault(file.name, file)
        if len(self._files) > MOST_FILES:
            raise DecodeError(f"{self._address} tells more than {MOST_FILES} files of descriptors")

    def _add(self, names: Sequence[str]) -> None:
        """Add files to the pool, each after its imports."""
        new = set(names)
        for name in names:
            if self._files[name] is None:
                self._files[name] = _known_file(name)
        imports = {
            name: [one for one in file.dependency if one in new]
            for name in names
            if (file := self._files[name]) is not None
        }
        try:
            for name in TopologicalSorter(imports).static_order():
                file = self._files[name]
                if file is not None:
                    kept = [one for one in file.dependency if self._files.get(one) is not None]
                    file.ClearField("public_dependency")
                    file.ClearField("weak_dependency")
                    del file.dependency[:]
                    file.dependency.extend(kept)
                    self.pool.Add(file)
        except (TypeError, ValueError, CycleError) as error:
            raise DecodeError(
                f"{self._address} sends descriptors that do not fit together: {error}"
            ) from None

    async def _asked(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        """Return the answer of the server to one question."""
        while True:
            try:
                return await self._ask(request)
            except CallError as error:
                if error.status is not Status.UNIMPLEMENTED:
                    raise self._refused(error) from None
                if self._version is _Older:
                    raise _without_reflection(self._address) from None
                self._version = _Older

    def _refused(self, error: CallError) -> CallError:
        """Return an error of the server without the name of the reflection's method, which no user calls."""
        text = _REFLECTION_METHOD.sub(f"the reflection of {self._address}: ", error.message)
        if text == error.message:
            return error
        return CallError(
            error.status, text, details=error.details, processed=error.processed, hint=error.hint
        )

    async def _ask(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        async def questions() -> AsyncIterator[ServerReflectionRequest]:
            yield request

        async with self._view.stream(self._version.info, questions()) as stream:
            async for answer in stream:
                found: ServerReflectionResponse = answer
                return found
        raise DecodeError(f"{self._address} does not answer by its reflection")


def check_protobuf(subject: str) -> None:
    """Raise ConfigError if the protobuf package is not installed.

    Args:
        subject: the thing that needs the package.
    """
    try:
        import_module("google.protobuf.descriptor_pool")
    except ImportError:
        raise ConfigError(
            f"{subject} need the protobuf package",
            hint="pip install 'fastrpc[grpc]'",
        ) from None


def _collect(file: Any, found: dict[str, Any]) -> None:
    """Add a file after its imports."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    if file.name in found:
        return
    for imported in file.dependencies:
        _collect(imported, found)
    found[file.name] = FileDescriptorProto()
    file.CopyToProto(found[file.name])


def _known_file(name: str) -> Any:
    """Return a file of google.protobuf as a descriptor; None for any other file."""
    from google.protobuf import descriptor_pool
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    for known in _KNOWN:
        if name == f"google/protobuf/{known}.proto":
            import_module(f"google.protobuf.{known}_pb2")
            found = FileDescriptorProto()
            descriptor_pool.Default().FindFileByName(name).CopyToProto(found)
            return found
    return None


def _absent(text: str, name: str, names: Sequence[str]) -> CallError:
    near = nearest_name(name, names)
    hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names) or 'none'}"
    return CallError(Status.UNIMPLEMENTED, text, processed="no", hint=hint)


def _without_reflection(address: str) -> CallError:
    return CallError(
        Status.UNIMPLEMENTED,
        f"{address} has no reflection, which would describe methods and their messages",
        processed="no",
        hint="turn on the reflection of that server (grpc.reflection.v1); without it fastrpc call sends the bytes of a"
        " message with --codec raw, and fastrpc contract reads a .proto file",
    )
