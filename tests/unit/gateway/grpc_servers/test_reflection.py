"""The descriptors of a server, assembled from the answers of its reflection; some servers are hostile."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from fastrpc import CallError, ConfigError, DecodeError, Status
from fastrpc.gateway.grpc_servers.reflection import MOST_FILES, ServerDescriptors, is_grpc
from fastrpc.rpc.protobuf.reflection_messages import (
    ErrorResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionResponse,
    ServiceResponse,
)

pytestmark = pytest.mark.one_loop


class ToldFiles:
    """A client of a server whose reflection sends these files; `versions` of it exist there."""

    def __init__(self, files: Mapping[str, bytes], symbols: Mapping[str, str], *, versions: int = 2) -> None:
        self.files = files
        self.symbols = symbols
        self.versions = versions
        self.asked: list[Any] = []

    @asynccontextmanager
    async def stream(self, function: Any, questions: Any) -> AsyncIterator[Any]:
        yield self._answers(function, questions)

    async def _answers(self, function: Any, questions: Any) -> AsyncIterator[ServerReflectionResponse]:
        is_older = "Older" in function.__qualname__
        if self.versions < (1 if is_older else 2):
            raise CallError(Status.UNIMPLEMENTED, "no such method")
        async for one in questions:
            self.asked.append(one)
            yield self._answer(one)

    def _answer(self, question: Any) -> ServerReflectionResponse:
        if question.list_services is not None:
            names = [ServiceResponse(name) for name in self.symbols]
            return ServerReflectionResponse(list_services_response=ListServiceResponse(names))
        name = question.file_by_filename or self.symbols.get(question.file_containing_symbol or "", "")
        if name not in self.files:
            return ServerReflectionResponse(error_response=ErrorResponse(5, "not found"))
        return ServerReflectionResponse(file_descriptor_response=FileDescriptorResponse([self.files[name]]))


def file(name: str, *imports: str, **parts: Any) -> bytes:
    made = descriptor_pb2.FileDescriptorProto(name=name, syntax="proto3", dependency=imports, **parts)
    content: bytes = made.SerializeToString()
    return content


def service(message: str = ".a.Box") -> list[dict[str, Any]]:
    method = {"name": "Get", "input_type": message, "output_type": message}
    return [{"name": "Desk", "method": [method]}]


BOX = [{"name": "Box"}]
FILES = {
    "a.proto": file("a.proto", "b.proto", "absent.proto", package="a", message_type=BOX, service=service()),
    "b.proto": file("b.proto", "google/protobuf/timestamp.proto", package="b"),
}
SYMBOLS = {"a.Desk": "a.proto"}


def descriptors(view: Any) -> ServerDescriptors:
    return ServerDescriptors(view, "grpc://test:1")


async def test_imports_are_asked_for_one_by_one() -> None:
    view = ToldFiles(FILES, SYMBOLS)
    found = await descriptors(view).method("a.Desk/Get")
    assert found.input_type.full_name == "a.Box"
    assert {one.file_by_filename for one in view.asked} == {
        None,
        "b.proto",
        "absent.proto",
        "google/protobuf/timestamp.proto",
    }


@pytest.mark.parametrize("versions", [1, 2])
async def test_the_older_version_is_asked_where_there_is_no_newer(versions: int) -> None:
    told = descriptors(ToldFiles(FILES, SYMBOLS, versions=versions))
    assert await told.services() == ["a.Desk"]
    assert (await told.service("a.Desk")).full_name == "a.Desk"


async def test_a_server_without_reflection_is_named() -> None:
    with pytest.raises(CallError, match="grpc://test:1 has no reflection") as failed:
        await descriptors(ToldFiles(FILES, SYMBOLS, versions=0)).services()
    assert (failed.value.status, failed.value.processed) == (Status.UNIMPLEMENTED, "no")


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.Dsk.Get", "has no service 'a.Dsk'"), ("a.Desk.Gt", "a.Desk has no method 'Gt'")],
)
async def test_an_unknown_name_gets_the_nearest(name: str, said: str) -> None:
    with pytest.raises(CallError, match=said) as failed:
        await descriptors(ToldFiles(FILES, SYMBOLS)).method(name)
    assert "did you mean" in failed.value.hint


async def test_a_name_without_a_service_is_refused() -> None:
    with pytest.raises(ConfigError, match="not the full name"):
        await descriptors(ToldFiles(FILES, SYMBOLS)).method("Get")


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xff",
        file("a.proto", "a.proto", package="a", message_type=BOX, service=service()),
        file("a.proto", package="a", message_type=BOX * 2, service=service()),
        file("a.proto", package="a", service=service()),
        file("other.proto", package="other"),
    ],
    ids=["malformed", "imports itself", "a name twice", "an unknown type", "another file"],
)
async def test_descriptors_that_do_not_fit_are_refused(content: bytes) -> None:
    with pytest.raises((DecodeError, CallError)):
        await descriptors(ToldFiles({"a.proto": content}, SYMBOLS)).service("a.Desk")


async def test_imports_have_a_bound() -> None:
    class Endless(ToldFiles):
        def _answer(self, question: Any) -> ServerReflectionResponse:
            at = len(self.asked)
            content = file(f"{at}.proto", f"{at + 1}.proto")
            return ServerReflectionResponse(file_descriptor_response=FileDescriptorResponse([content]))

    view = Endless({}, {})
    with pytest.raises(DecodeError, match="more than"):
        await descriptors(view).service("a.Desk")
    assert len(view.asked) <= MOST_FILES + 2


def test_addresses_of_grpc_are_known_by_their_scheme() -> None:
    assert [is_grpc(one) for one in ("grpc://a:1", "GRPCS://a:1", "tcp://a:1", "http://a:1")] == [
        True,
        True,
        False,
        False,
    ]
