"""Frames of zstd and lz4 without a checksum over their content are refused, wherever the native protocol takes one."""

import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, CallError, DecodeError, ServerConfig, Status
from fastrpc.compressors.base import compressor_named
from tests.support.either_client import CLIENTS, either
from tests.support.grpc_peer import grpc_peer, message
from tests.support.http_talk import HttpClient
from tests.support.served import served
from tests.support.web_talk import CONNECT

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.one_loop

SUMMED = b"with a sum " * 1_000
#: A payload with this text is sent in a frame without a checksum.
UNSUMMED = b"without a sum " * 1_000


@fastrpc.service("blocks")
class Blocks:
    def __init__(self) -> None:
        self.taken = 0

    @fastrpc.method
    async def put(self, data: bytes) -> int:
        self.taken += 1
        return len(data)

    @fastrpc.method
    async def give(self, data: bytes) -> bytes:
        return UNSUMMED if len(data) % 2 else SUMMED

    @fastrpc.method
    async def put_all(self, blocks: AsyncIterator[bytes]) -> int:
        size = 0
        async for block in blocks:
            self.taken += 1
            size += len(block)
        return size

    @fastrpc.method
    async def give_all(self, data: bytes) -> AsyncIterator[bytes]:
        yield SUMMED
        yield UNSUMMED if len(data) % 2 else SUMMED


@pytest.fixture(params=["zstd", "lz4"])
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a compressor whose frames of `UNSUMMED` have no checksum."""
    name: str = request.param
    frames = compressor_named(name)
    made, plain = frames.compress, zstd.compress
    if name == "lz4":
        lz4 = pytest.importorskip("lz4.frame")

        def plain(payload: bytes) -> bytes:
            unsummed: bytes = lz4.compress(payload, block_size=lz4.BLOCKSIZE_MAX64KB)
            return unsummed

    def compress(payload: Any) -> bytes:
        return plain(payload) if UNSUMMED[:100] in bytes(payload) else made(payload)

    monkeypatch.setattr(frames, "compress", compress)
    return name


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_request_is_refused_and_the_next_one_answered(kind: str, name: str) -> None:
    blocks = Blocks()
    async with either(kind, blocks) as client:
        view = client.with_options(compressor=name)
        with pytest.raises(CallError, match=f"{name} .*no checksum over the content") as refused:
            await view.call(Blocks.put, UNSUMMED)
        assert (refused.value.status, refused.value.processed) == (Status.INVALID_ARGUMENT, "no")
        assert blocks.taken == 0
        assert await view.call(Blocks.put, SUMMED) == len(SUMMED)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_answer_fails_its_call_alone(kind: str, name: str) -> None:
    async with either(kind, Blocks()) as client:
        view = client.with_options(compressor=name)
        with pytest.raises(DecodeError, match=f"{name} .*no checksum over the content") as refused:
            await view.call(Blocks.give, SUMMED + b"x")
        assert (refused.value.status, refused.value.processed) == (Status.INTERNAL, "yes")
        assert await view.call(Blocks.give, SUMMED) == SUMMED


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_message_of_a_caller_ends_its_stream_alone(kind: str, name: str) -> None:
    blocks = Blocks()
    async with either(kind, blocks) as client:
        view = client.with_options(compressor=name)
        with pytest.raises(CallError, match=f"{name} .*no checksum over the content") as refused:
            await view.call(Blocks.put_all, given(kind, SUMMED, UNSUMMED))
        assert refused.value.status is Status.INVALID_ARGUMENT
        assert blocks.taken == 1
        assert await view.call(Blocks.put_all, given(kind, SUMMED, SUMMED)) == 2 * len(SUMMED)


def given(kind: str, *blocks: bytes) -> Any:
    async def one_by_one() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    return one_by_one() if kind == "async" else iter(blocks)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_message_of_a_server_ends_its_stream_alone(kind: str, name: str) -> None:
    async with either(kind, Blocks()) as client:
        view = client.with_options(compressor=name)
        stream = view.stream(Blocks.give_all, SUMMED + b"x")
        assert await stream.receive() == SUMMED
        with pytest.raises(DecodeError, match=f"{name} .*no checksum over the content") as refused:
            await stream.receive()
        assert refused.value.status is Status.INTERNAL
        stream = view.stream(Blocks.give_all, SUMMED)
        assert [await stream.receive(), await stream.receive()] == [SUMMED, SUMMED]


@pytest.mark.parametrize("encoding", ["zstd", "lz4"])
async def test_http_and_grpc_neither_offer_nor_take_them(encoding: str) -> None:
    config = ServerConfig(
        protocols=("native", "http", "grpc"),
        http=HTTP(compress=True, connect=True, grpc_web=True, jsonrpc=True),
    )
    content = compressor_named(encoding).compress(b'{"data": ""}')
    async with served(Blocks(), scheme="tcp", config=config) as target:
        async with await HttpClient.to(target) as client:
            refused = await client.post("/blocks/give", content, Content_Encoding=encoding)
            assert refused.status == 415
            # JSON-RPC has no encodings: the body is not JSON to it.
            refused = await client.post("/jsonrpc", content, Content_Encoding=encoding)
            assert refused.value["error"]["code"] == -32_700
            refused = await client.post("/blocks/give", content, **CONNECT, Content_Encoding=encoding)
            assert refused.value["code"] == "unimplemented"
            assert refused["accept-encoding"] == "identity,gzip"
            answer = await client.post("/blocks/give", {"data": ""}, Accept_Encoding=encoding)
            assert (answer.status, "content-encoding" in answer) == (200, False)
        async with grpc_peer(target) as peer:
            stream = peer.open(
                "/blocks/give", [("grpc-encoding", encoding), ("grpc-accept-encoding", encoding)]
            )
            peer.send(stream, b"\1" + message(content)[1:], ends=True)
            ended = await peer.end(stream)
            assert (ended.status, encoding in ended.text) == (Status.UNIMPLEMENTED, True)
            offered = ended.end["grpc-accept-encoding"].replace(" ", "").split(",")
            assert set(offered) == {"identity", "gzip", "deflate"}
