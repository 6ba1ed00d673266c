"""Compressed calls: the bytes on the wire, when calls are compressed, and the effect of a bomb."""

import asyncio
import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    ConnectionLostError,
    DecodeError,
    Limits,
    ServerConfig,
    Status,
)
from fastrpc._core.base.histogram import default_registry
from fastrpc.compressors.base import Compressor, compressor_named, compressor_numbers
from fastrpc.testing import connected
from tests.support.proxy import FaultProxy
from tests.support.served import served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

MIB = 1 << 20
GIB = 1 << 30
TEXT = ("What is repeated can be said in fewer words. " * (MIB // 45 + 1))[:MIB]
NOISE = random.Random(5).randbytes(MIB)

COMPRESSORS = [known.name for known in compressor_numbers().values()]
each_compressor = pytest.mark.parametrize("name", COMPRESSORS)


@fastrpc.service("texts")
class Texts:
    def __init__(self) -> None:
        self.ran = 0

    @fastrpc.method
    async def echo(self, text: str) -> str:
        self.ran += 1
        return text

    @fastrpc.method(codec="raw")
    async def raw(self, data: bytes) -> bytes:
        self.ran += 1
        return data

    @fastrpc.method
    def make(self, size: int) -> str:
        return "x" * size


@each_compressor
@pytest.mark.parametrize("is_first", [True, False])
async def test_repeated_text_is_small_on_the_wire_both_ways(name: str, is_first: bool) -> None:
    async with served(Texts, scheme="tcp") as target, FaultProxy(target) as proxy:
        async with Client(proxy.address) as client:
            if not is_first:
                await client.ready()
            assert await client.with_options(compressor=name).call(Texts.echo, TEXT) == TEXT
        assert 0 < proxy.upstream.bytes_passed <= 64 * 1024
        assert 0 < proxy.downstream.bytes_passed <= 64 * 1024


@each_compressor
async def test_random_bytes_do_not_grow(name: str) -> None:
    async with served(Texts, scheme="tcp") as target, FaultProxy(target) as proxy:
        async with Client(proxy.address) as client:
            assert await client.with_options(compressor=name).call(Texts.raw, NOISE) == NOISE
        # Frame heads, credit and the opening are all that may come on top.
        for direction in (proxy.upstream, proxy.downstream):
            assert MIB <= direction.bytes_passed <= MIB + 2_048


async def test_without_a_compressor_nothing_is_compressed() -> None:
    async with served(Texts, scheme="tcp") as target, FaultProxy(target) as proxy:
        async with Client(proxy.address) as client:
            await client.call(Texts.echo, TEXT)
        assert proxy.upstream.bytes_passed > MIB
        assert proxy.downstream.bytes_passed > MIB


async def passed(proxy: FaultProxy, call: Any) -> tuple[int, int]:
    """Await a call; return the bytes that crossed the proxy for it."""
    before = proxy.upstream.bytes_passed, proxy.downstream.bytes_passed
    await call
    return proxy.upstream.bytes_passed - before[0], proxy.downstream.bytes_passed - before[1]


async def test_only_payloads_above_the_threshold_are_compressed() -> None:
    async with (
        served(Texts, scheme="tcp") as target,
        FaultProxy(target) as proxy,
        Client(proxy.address) as client,
    ):
        view = client.with_options(compressor="gzip")
        await client.ready()
        up, down = await passed(proxy, view.call(Texts.raw, b"x" * 1_024))
        assert up > 1_024 < down
        up, down = await passed(proxy, view.call(Texts.raw, b"x" * 1_025))
        assert up < 200 > down


async def test_the_threshold_is_a_setting() -> None:
    config = ClientConfig(compressor="gzip", compress_above=100)
    async with (
        served(Texts, scheme="tcp") as target,
        FaultProxy(target) as proxy,
        Client(proxy.address, config=config) as client,
    ):
        await client.ready()
        up, _ = await passed(proxy, client.call(Texts.raw, b"x" * 900))
        assert up < 200
        up, _ = await passed(proxy, client.call(Texts.raw, b"x" * 90))
        assert up > 90


async def test_an_answer_is_not_compressed_when_its_request_was_not() -> None:
    async with (
        served(Texts, scheme="tcp") as target,
        FaultProxy(target) as proxy,
        Client(proxy.address) as client,
    ):
        view = client.with_options(compressor="gzip")
        _, down = await passed(proxy, view.call(Texts.make, 50_000))
        assert down > 50_000


async def test_the_loop_turns_while_a_large_payload_is_decompressed() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with connected(Texts) as client:
        view = client.with_options(compressor="gzip")
        await view.call(Texts.raw, b"x" * 2_000)
        counting = asyncio.ensure_future(count())
        await view.call(Texts.raw, b"x" * 2_000)
        turns_of_a_small_one, turns = turns, 0
        await view.call(Texts.raw, bytes(15 * MIB))
        counting.cancel()
        assert turns > turns_of_a_small_one + 2


def deflated_zeros() -> bytes:
    """Return a gibibyte of zeros, joined from one compressed mebibyte that repeats itself."""
    writer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    mebibyte = writer.compress(bytes(MIB)) + writer.flush(zlib.Z_FULL_FLUSH)
    return mebibyte * (GIB // MIB) + b"\x03\x00"


def gzip_bomb() -> bytes:
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + deflated_zeros() + bytes(8)


def deflate_bomb() -> bytes:
    return b"\x78\xda" + deflated_zeros() + bytes(4)


def lz4_bomb() -> bytes:
    """Return a gibibyte of zeros: blocks of 64 KiB, each on its own."""
    import lz4.frame

    size = 64 * 1024
    options = {"block_size": lz4.frame.BLOCKSIZE_MAX64KB, "block_linked": False, "content_checksum": True}
    whole: bytes = lz4.frame.compress(bytes(size), store_size=False, **options)
    return whole[:7] + whole[7:-8] * (GIB // size) + whole[-8:]


def zstd_bomb() -> bytes:
    """Return a gibibyte of zeros: one frame of RLE blocks (RFC 8878, 3.1.1.2) of 128 KiB."""
    size = 128 * 1024
    block = (size << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (size << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    # Magic, a descriptor with a checksum and without content size, a window of 2 MiB.
    return b"\x28\xb5\x2f\xfd\x04\x58" + block * (GIB // size - 1) + last + bytes(4)


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": gzip_bomb,
    "lz4": lz4_bomb,
    "zstd": zstd_bomb,
    "deflate": deflate_bomb,
}


class Bomber:
    """A compressor that sends a bomb in place of any value."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._real: Compressor = compressor_named(name)
        self.wire_id = self._real.wire_id
        self._bomb = BOMBS[name]()

    def compress(self, payload: Any) -> bytes:
        return self._bomb

    def decompress(self, payload: Any, max_size: int) -> bytes:
        return self._real.decompress(payload, max_size)


@each_compressor
async def test_a_bomb_of_a_gibibyte_is_refused_at_the_limit_and_the_connection_lives(name: str) -> None:
    texts = Texts()
    async with served(texts, scheme="tcp") as target, Client(target) as client:
        await client.ready()
        session = client._pool.connections[0]
        view = client.with_options(compressor=name)
        view._set_options({"compressor": Bomber(name)})
        with pytest.raises(CallError, match=rf"texts\.raw.*{name}.*16777216") as failed:
            await view.call(Texts.raw, bytes(6 * MIB))
        assert failed.value.status is Status.RESOURCE_EXHAUSTED
        assert (failed.value.processed, failed.value.retryable) == ("no", False)
        assert texts.ran == 0
        assert await client.call(Texts.raw, b"x") == b"x"
        assert client._pool.connections == [session]


@each_compressor
async def test_an_answer_that_is_a_bomb_fails_only_its_call(name: str) -> None:
    async with served(Texts, scheme="tcp") as target, Client(target) as client:
        await client.ready()
        session = client._pool.connections[0]
        target.server._gate.compressors[compressor_named(name).wire_id] = Bomber(name)  # type: ignore[union-attr]
        with pytest.raises(DecodeError, match=rf"texts\.raw.*{name}.*16777216") as failed:
            await client.with_options(compressor=name).call(Texts.raw, bytes(6 * MIB))
        assert (failed.value.processed, failed.value.retryable) == ("yes", False)
        assert await client.call(Texts.raw, b"x") == b"x"
        assert client._pool.connections == [session]


@each_compressor
async def test_damaged_payloads_fail_that_call_alone(name: str) -> None:
    class Damager(Bomber):
        def compress(self, payload: Any) -> bytes:
            return b"not compressed at all"

    texts = Texts()
    async with served(texts, scheme="tcp") as target, Client(target) as client:
        view = client.with_options(compressor=name)
        view._set_options({"compressor": Damager(name)})
        with pytest.raises(CallError, match=name) as failed:
            await view.call(Texts.raw, bytes(5_000))
        assert failed.value.status is Status.INVALID_ARGUMENT
        assert failed.value.processed == "no"
        assert await client.call(Texts.raw, b"x") == b"x"
        assert texts.ran == 1
        target.server._gate.compressors[compressor_named(name).wire_id] = Damager(name)  # type: ignore[union-attr]
        with pytest.raises(DecodeError, match=name):
            await client.with_options(compressor=name).call(Texts.raw, bytes(5_000))
        assert await client.call(Texts.raw, b"x") == b"x"


@pytest.mark.parametrize("end", ["end_calls", "abort"])
async def test_a_call_cut_off_while_it_is_unpacked_counts_as_refused(end: str) -> None:
    counters = default_registry.counters("texts.raw", "server")
    before = counters.snapshot()["calls"].get("CANCELLED", 0)
    texts = Texts()
    large = Limits(message_bytes=64 * MIB)
    async with served(texts, scheme="tcp", config=ServerConfig(limits=large)) as target:
        gate = target.server._gate
        assert gate is not None
        async with Client(target, config=ClientConfig(limits=large)) as client:
            call = asyncio.ensure_future(
                client.with_options(compressor="gzip").call(Texts.raw, bytes(48 * MIB))
            )
            await eventually(lambda: not gate.dispatcher._unpacking.is_idle)
            (session,) = gate.engines
            session.end_calls("over") if end == "end_calls" else session.abort()
            if end == "end_calls":
                # The caller learns that no handler has started, and calls once more.
                assert await call == bytes(48 * MIB)
            else:
                with pytest.raises(ConnectionLostError):
                    await call
            await eventually(lambda: gate.dispatcher._unpacking.is_idle)
            assert (texts.ran, gate.refusals.count) == (int(end == "end_calls"), 1)
            assert counters.snapshot()["calls"]["CANCELLED"] == before + 1
