"""Attacks that worked on other RPC systems, tried by frames; an honest caller is served meanwhile."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, Identity, Limits, ServerConfig, Status
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.auth import StaticTokens
from tests.support.raw_streams import BOTH_WAYS, CLIENT_STREAM, SERVER_STREAM, StreamPeer, stream_peer
from tests.support.rpcx_talk import rpcx_talk
from tests.support.rpcx_wire import JSON, Frame
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.wire_frames import Credit, Data, End, Goaway, Response

pytestmark = pytest.mark.one_loop

MIB = 1 << 20


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.taken: list[int] = []

    @fastrpc.method(public=True)
    async def count(self, text: str) -> int:
        return len(text)

    @fastrpc.method
    async def note(self, text: str) -> int:
        return len(text)

    @fastrpc.method
    async def take(self, texts: AsyncIterator[str]) -> int:
        async for text in texts:
            self.taken.append(len(text))
        return len(self.taken)

    @fastrpc.method
    async def both(self, texts: AsyncIterator[str]) -> AsyncIterator[int]:
        async for text in texts:
            yield len(text)

    @fastrpc.method
    async def give(self) -> AsyncIterator[str]:
        for number in range(100):
            yield f"{number}" * 1_000


@asynccontextmanager
async def honest_caller(target: str) -> AsyncIterator[None]:
    """Call all the while; each call is answered, and some are while the block lasts."""
    answered = 0
    is_over = False

    async def call_on() -> None:
        nonlocal answered
        async with Client(target) as client:
            while not is_over:
                assert await client.call("shop.count", "abc") == 3
                answered += 1

    async with asyncio.timeout(30):
        calling = asyncio.create_task(call_on())
        await eventually(lambda: answered)
        before = answered
        yield
        await eventually(lambda: answered > before or calling.done())
        is_over = True
        await calling


# rpcx: a compressed request is decompressed before its sender is known (CVE-2026-59803)


@pytest.mark.parametrize("method", ["note", "none"])
@pytest.mark.parametrize("metadata", [{}, {"__AUTH": "Bearer wrong"}], ids=["no token", "a wrong token"])
async def test_no_request_of_a_stranger_by_rpcx_is_decompressed(
    method: str, metadata: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = gzip.compress(b'"' + b"x" * (15 * MIB) + b'"', 9)
    tokens = StaticTokens({"secret-of-ada": Identity("ada")})
    config = ServerConfig(protocols=("native", "rpcx"))
    async with served(Shop(), scheme="tcp", config=config, authenticate=tokens) as target:
        async with honest_caller(target), rpcx_talk(target.server) as talk:
            unpacked: list[Any] = []
            monkeypatch.setattr(zlib, "decompressobj", lambda *given: unpacked.append(given))
            monkeypatch.setattr(zlib, "decompress", lambda *given: unpacked.append(given))
            answer = await talk.ask(
                Frame(
                    path="shop",
                    method=method,
                    payload=packed,
                    metadata=metadata,
                    compress=1,
                    serialize=JSON,
                )
            )
            assert answer.metadata["frpc-code"] == Status.UNAUTHENTICATED.name
            assert unpacked == []


# bRPC: malformed feedback of a stream (CVE-2026-82210)


async def opened(talk: StreamPeer, flags: int) -> int:
    method = {SERVER_STREAM: "give", CLIENT_STREAM: "take", BOTH_WAYS: "both"}[flags]
    return talk.open(f"shop.{method}", flags=flags)


@pytest.mark.parametrize("size", [0, 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("flags", [SERVER_STREAM, CLIENT_STREAM, BOTH_WAYS])
async def test_invalid_credit_ends_only_the_connection_that_sent_it(flags: int, size: int) -> None:
    async with served(Shop(), scheme="tcp") as target, honest_caller(target):
        async with stream_peer(target) as talk:
            call = await opened(talk, flags)
            for told in (call, call + 2, 2**32 - 1, 0):
                talk.peer.send(*[Credit(told, size).encode()] * 3)
            # A frame that is longer than its kind.
            talk.peer.send(Credit(call, size).encode()[:-4] + b"\0" * 4)
            talk.peer.send(End(call).encode())
            # Either the stream ends as it should, or the connection, with the reason.
            await talk.peer.next(Response | Goaway)  # type: ignore[arg-type]
    assert bytes_held() == 0


# bRPC: a message of a stream that never ends (CVE-2026-80463)


@pytest.mark.parametrize("piece", [b"", b"x", b"x" * 60_000], ids=["empty", "a byte", "long"])
async def test_a_message_without_an_end_is_refused_at_the_limit(piece: bytes) -> None:
    shop = Shop()
    config = ServerConfig(limits=Limits(message_bytes=MIB))
    async with served(shop, scheme="tcp", config=config) as target, honest_caller(target):
        async with stream_peer(target) as talk:
            call = await opened(talk, CLIENT_STREAM)
            frames = [Data(call, piece, codec=1, more=True).encode()]
            frames += [Data(call, piece, more=True, cont=True).encode()] * min(
                20_000, 4 * MIB // max(1, len(piece))
            )
            talk.peer.send(*frames)
            told = await talk.peer.next(Response | Goaway)  # type: ignore[arg-type]
            assert getattr(told, "status", Status.UNKNOWN) != Status.OK
            assert bytes_held() < 4 * MIB
        assert shop.taken == []
        await eventually(lambda: bytes_held() < MIB)


# Thrift: zlib without a limit (THRIFT-6088)


@pytest.mark.parametrize("compressor", ["gzip", "deflate", "zstd", "lz4"])
async def test_a_compressed_message_is_bounded_by_its_plain_size(compressor: str) -> None:
    if compressor in {"zstd", "lz4"}:
        pytest.importorskip("lz4" if compressor == "lz4" else "backports.zstd")
    config = ServerConfig(limits=Limits(message_bytes=MIB))
    async with served(Shop(), scheme="tcp", config=config) as target, honest_caller(target):
        async with Client(target) as plain:
            client = plain.with_options(compressor=compressor)
            assert await client.call(Shop.note, "x" * 100_000) == 100_000
            with pytest.raises(fastrpc.FastRPCError) as refused:
                await client.call(Shop.note, "x" * (2 * MIB))
            assert refused.value.status is Status.RESOURCE_EXHAUSTED
