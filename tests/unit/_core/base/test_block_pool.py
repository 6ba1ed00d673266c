"""Recycled payload memory: never while anybody looks at it, and never without bound."""

import random
from collections.abc import Iterator

import pytest

import fastrpc
from fastrpc._core.base.block_pool import kept_blocks, release_blocks
from fastrpc.testing import connected


@fastrpc.service("blocks")
class Blocks:
    @fastrpc.method(codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        return payload


@pytest.fixture(autouse=True)
def empty_pool() -> Iterator[None]:
    release_blocks()
    yield
    release_blocks()


async def test_a_payload_with_other_references_never_changes() -> None:
    source = random.Random(7)
    async with connected(Blocks()) as client:
        held = []
        for _ in range(40):
            sent = source.randbytes(source.choice((40_000, 100_000, 300_000)))
            held.append((sent, await client.call(Blocks.echo, sent)))
        for sent, received in held:
            assert received == sent


async def test_a_hash_taken_of_a_dropped_payload_does_not_stick_to_its_memory() -> None:
    async with connected(Blocks()) as client:
        first = hash(await client.call(Blocks.echo, b"a" * 100_000))
        for _ in range(4):
            payload = await client.call(Blocks.echo, b"b" * 100_000)
            assert hash(payload) == hash(b"b" * 100_000) != first
            del payload


async def test_memory_of_dropped_payloads_is_used_again() -> None:
    async with connected(Blocks()) as client:
        places = set()
        for _ in range(50):
            payload = await client.call(Blocks.echo, bytes(200_000))
            places.add(id(payload))
            del payload
        assert len(places) <= 4


async def test_the_pool_is_bounded() -> None:
    async with connected(Blocks()) as client:
        for size in range(1, 80):
            await client.call(Blocks.echo, bytes(32_768 * size))
        blocks, size = kept_blocks()
        assert blocks <= 64
        assert size <= 16_777_216


async def test_released_blocks_are_forgotten() -> None:
    async with connected(Blocks()) as client:
        await client.call(Blocks.echo, bytes(100_000))
        assert kept_blocks()[0] > 0
        release_blocks()
        assert kept_blocks() == (0, 0)
