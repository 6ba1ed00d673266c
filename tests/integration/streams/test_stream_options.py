"""Options of views on streams: codec, compression, metadata, and counters."""

from collections.abc import AsyncIterator

import pytest

import fastrpc
from fastrpc import ClientConfig
from tests.support.served import served

pytestmark = pytest.mark.one_loop


@fastrpc.service("texts")
class Texts:
    @fastrpc.method
    async def repeated(self, text: str, limit: int) -> AsyncIterator[str]:
        call = fastrpc.current_call()
        call.reply_metadata["first"] = call.metadata.get("trace", "")
        for _ in range(limit):
            yield text
        call.reply_metadata["last"] = str(limit)

    @fastrpc.method
    async def echo(self, texts: AsyncIterator[str]) -> AsyncIterator[str]:
        async for text in texts:
            yield text

    @fastrpc.method(codec="raw")
    async def bytes(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for block in blocks:
            yield block


@pytest.mark.parametrize("compressor", ["gzip", "zstd", "lz4"])
async def test_messages_are_compressed_each_by_itself(compressor: str) -> None:
    long, short = "a" * 100_000, "b"
    async with served(Texts) as address, fastrpc.Client(address) as client:
        view = client.with_options(compressor=compressor)
        async with view.stream(Texts.echo, [long, short, long]) as texts:
            assert [text async for text in texts] == [long, short, long]
        totals = client.stats()["totals"]
    assert totals["sent_bytes"] < 20_000
    assert totals["received_bytes"] < 20_000


async def test_a_client_may_compress_every_stream() -> None:
    config = ClientConfig(compressor="gzip", compress_above=16)
    async with served(Texts) as address, fastrpc.Client(address, config=config) as client:
        async with client.stream(Texts.repeated, "a" * 2000, 10) as texts:
            assert [text async for text in texts] == ["a" * 2000] * 10
        assert client.stats()["totals"]["received_bytes"] < 2000


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_messages_travel_by_the_codec_of_the_view(codec: str) -> None:
    async with served(Texts) as address, fastrpc.Client(address) as client:
        async with client.with_options(codec=codec).stream(Texts.echo, ["a", "ü"]) as texts:
            assert [text async for text in texts] == ["a", "ü"]


async def test_raw_messages_travel_untouched() -> None:
    async with served(Texts) as address, fastrpc.Client(address) as client:
        async with client.open(Texts.bytes) as blocks:
            for size in (0, 1, 100_000):
                await blocks.send(bytes(size))
                assert await blocks.receive() == bytes(size)


async def test_metadata_goes_both_ways() -> None:
    async with served(Texts) as address, fastrpc.Client(address) as client:
        view = client.with_options(metadata={"trace": "7"})
        async with view.stream(Texts.repeated, "a", 1) as texts:
            assert (await texts.headers())["first"] == "7"
            assert [text async for text in texts] == ["a"]
            assert texts.metadata["first"] == "7"
            assert texts.reply.metadata["last"] == "1"


async def test_bytes_of_messages_are_counted_and_a_stream_is_one_call() -> None:
    async with served(Texts) as address, fastrpc.Client(address) as client:
        async with client.stream(Texts.echo, ["abc"] * 5) as texts:
            assert [text async for text in texts] == ["abc"] * 5
        totals = client.stats()["totals"]
    assert (totals["calls"], totals["succeeded"]) == (1, 1)
    assert (totals["sent_bytes"], totals["received_bytes"]) == (21, 20)
