"""Limits of payloads, on every side that has one, with errors that say which."""

import asyncio
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, ClientConfig, EncodeError, Limits, Memory, ServerConfig, Status
from fastrpc.testing import connected
from tests.support.served import SCHEMES, served

pytestmark = pytest.mark.one_loop

MIB = 1 << 20


@fastrpc.service("blobs")
class Blobs:
    def __init__(self) -> None:
        self.ran = 0

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        self.ran += 1
        return data

    @fastrpc.method
    async def make(self, size: int) -> bytes:
        self.ran += 1
        return bytes(size)

    @fastrpc.method(idempotent=True)
    async def find(self, data: bytes) -> int:
        self.ran += 1
        return len(data)

    @fastrpc.method
    async def count(self, numbers: list[int]) -> int:
        self.ran += 1
        return len(numbers)


def small(size: int = MIB) -> Any:
    return Limits(message_bytes=size)


def says(error: Exception, *parts: str) -> None:
    text = str(error)
    assert all(part in text for part in parts), text


async def still_works(client: Client) -> None:
    assert await client.call(Blobs.echo, b"still there") == b"still there"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 65_536, 262_144, 262_145, 3 * MIB])
async def test_payloads_of_every_size_cross_whole(scheme: str, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with served(Blobs, scheme=scheme) as target, Client(target) as client:
        assert await client.call(Blobs.echo, data) == data
        assert await client.call_many(Blobs.echo, [(data,), (b"x",)]) == [data, b"x"]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_many_large_payloads_cross_at_once_both_ways(scheme: str) -> None:
    payloads = [bytes([n]) * 200_000 for n in range(40)]
    async with served(Blobs, scheme=scheme) as target, Client(target) as client:
        assert await asyncio.gather(*(client.call(Blobs.echo, data) for data in payloads)) == payloads


async def test_a_payload_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    config, client_config = ServerConfig(limits=small()), ClientConfig(limits=small())
    blobs = Blobs()
    async with connected(blobs, config=config, client_config=client_config) as client:
        assert len(await client.call(Blobs.echo, bytes(MIB))) == MIB
        with pytest.raises(EncodeError):
            await client.call(Blobs.echo, bytes(MIB + 1))
        assert blobs.ran == 1


async def test_a_sender_over_its_own_limit_fails_before_sending() -> None:
    blobs = Blobs()
    async with connected(blobs, client_config=ClientConfig(limits=small())) as client:
        for _ in range(2):
            with pytest.raises(EncodeError) as failed:
                await client.call(Blobs.echo, bytes(2 * MIB))
            says(failed.value, "blobs.echo", "2097152", "1048576", "this client", "Limits.message_bytes")
            assert (failed.value.processed, failed.value.retryable) == ("no", False)
            await still_works(client)
        assert blobs.ran == 2
        assert client.stats()["buffered"] == 0


@pytest.mark.parametrize("is_ready", [False, True])
async def test_a_sender_over_the_servers_limit_fails_before_sending(is_ready: bool) -> None:
    blobs = Blobs()
    async with connected(blobs, config=ServerConfig(limits=small())) as client:
        if is_ready:
            await client.ready()
        with pytest.raises(EncodeError) as failed:
            await client.call(Blobs.echo, bytes(2 * MIB))
        says(failed.value, "2097152", "1048576", "Limits.message_bytes")
        if is_ready:
            says(failed.value, "blobs.echo", "the server takes")
        assert (failed.value.processed, failed.value.retryable) == ("no", False)
        await still_works(client)
        assert blobs.ran == 1


async def test_an_early_call_over_the_servers_limit_ends_in_the_same_error() -> None:
    blobs = Blobs()
    async with connected(blobs, config=ServerConfig(limits=small(8_192))) as client:
        with pytest.raises(EncodeError) as failed:
            await client.call(Blobs.find, bytes(20_000))
        says(failed.value, "blobs.find", "8192", "the server takes", "Limits.message_bytes")
        await still_works(client)
        assert blobs.ran == 1


async def test_an_answer_over_the_servers_limit_is_reported() -> None:
    async with connected(Blobs, config=ServerConfig(limits=small())) as client:
        with pytest.raises(CallError) as failed:
            await client.call(Blobs.make, 2 * MIB)
        says(failed.value, "blobs.make", "20971", "1048576", "the server sends", "Limits.message_bytes")
        assert failed.value.status is Status.RESOURCE_EXHAUSTED
        assert (failed.value.processed, failed.value.retryable) == ("yes", False)
        await still_works(client)


async def test_an_answer_over_the_clients_limit_is_reported() -> None:
    async with connected(Blobs, client_config=ClientConfig(limits=small())) as client:
        with pytest.raises(CallError) as failed:
            await client.call(Blobs.make, 2 * MIB)
        says(failed.value, "blobs.make", "20971", "1048576", "the client takes", "Limits.message_bytes")
        assert failed.value.status is Status.RESOURCE_EXHAUSTED
        assert failed.value.processed == "yes"
        await still_works(client)


async def test_too_many_items_are_refused_without_trying_again() -> None:
    blobs = Blobs()
    config = ServerConfig(memory=Memory(items=1_000))
    async with connected(blobs, config=config) as client:
        assert await client.call(Blobs.count, list(range(900))) == 900
        with pytest.raises(CallError, match="1000") as failed:
            await client.call(Blobs.count, list(range(2_000)))
        assert failed.value.status is Status.RESOURCE_EXHAUSTED
        assert (failed.value.processed, failed.value.retryable) == ("no", False)
        assert blobs.ran == 1


async def test_large_frames_and_small_ones_share_a_connection_fairly() -> None:
    """A small call that comes after megabytes of other calls does not wait for them."""
    order: list[str] = []

    async def note(name: str, call: Any) -> None:
        await call
        order.append(name)

    async with served(Blobs, scheme="tcp") as target, Client(target) as client:
        await client.ready()
        large = [note("large", client.call(Blobs.echo, bytes(4 * MIB))) for _ in range(4)]
        await asyncio.gather(*large, note("small", client.call(Blobs.echo, b"x")))
    assert order[0] == "small"
