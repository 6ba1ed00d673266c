"""The words of gRPC for its calls: compressors, broken messages, metadata, paths."""

import gzip

import pytest

import fastrpc
from fastrpc import Status, current_call
from tests.support.grpc_peer import message, served_grpc
from tests.support.raw_methods import Raw

ECHO = "/test.v1.Raw/echo"
TEXT = b"text " * 2_000


@fastrpc.service("test.v1.Own")
class Own:
    @fastrpc.method(codec="raw")
    async def say(self, data: bytes) -> bytes:
        current_call().reply_metadata["key"] = data.decode()
        return data


async def test_an_answer_is_plain_where_its_caller_takes_no_compressor() -> None:
    async with served_grpc(Raw()) as link:
        stream = link.open(ECHO, [("grpc-encoding", "gzip")])
        link.send(stream, message(gzip.compress(TEXT), flags=1), ends=True)
        answer = await link.end(stream)
        assert ("grpc-encoding" in answer.head, answer.data[0], answer.messages) == (False, 0, [TEXT])


@pytest.mark.parametrize(
    "packed",
    [b"", b"no gzip", gzip.compress(TEXT)[:-1], gzip.compress(TEXT) + b"x"],
    ids=["empty", "other", "cut", "longer"],
)
@pytest.mark.parametrize("path", [ECHO, "/test.v1.Raw/total", "/test.v1.Raw/both"])
async def test_a_message_that_does_not_decompress_is_internal(path: str, packed: bytes) -> None:
    async with served_grpc(Raw()) as link:
        stream = link.open(path, [("grpc-encoding", "gzip")])
        link.send(stream, message(packed, flags=1), ends=True)
        assert (await link.end(stream)).status == Status.INTERNAL


@pytest.mark.parametrize("flags", [0, 1])
@pytest.mark.parametrize(("path", "kind"), [(ECHO, "unary"), ("/test.v1.Raw/total", "stream")])
async def test_an_unknown_compressor_is_unimplemented_with_the_known_ones(
    path: str, kind: str, flags: int
) -> None:
    async with served_grpc(Raw()) as link:
        stream = link.open(path, [("grpc-encoding", "snappy")])
        link.send(stream, message(b"?", flags=flags), ends=True)
        answer = await link.end(stream)
        assert (answer.status, "grpc-encoding is snappy" in answer.text) == (Status.UNIMPLEMENTED, True)
        assert "identity,gzip" in answer.text
        if kind == "unary":
            assert answer.end["grpc-accept-encoding"].startswith("identity,gzip")


async def test_metadata_that_is_no_ascii_is_an_internal_error() -> None:
    async with served_grpc(Own()) as link:
        answer = await link.call("/test.v1.Own/say", "grün".encode())
        assert (answer.status, "'key' is not visible ASCII" in answer.text) == (Status.INTERNAL, True)


async def test_a_path_that_leads_to_no_method_is_reported() -> None:
    async with served_grpc(Raw()) as link:
        answer = await link.call("/echo", b"x")
        assert (answer.status, "it is /service/method" in answer.text) == (Status.UNIMPLEMENTED, True)
