"""Memory for bytes: pooled blocks, and the buffers that read and write."""

import random
from collections.abc import Iterator

import pytest

import fastrpc
from fastrpc._core.base.buffer import Assembly, ReadBuffer, WriteBuffer, kept_blocks, release_blocks
from fastrpc.testing import connected
from fastrpc_harness import buffers


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


KEPT = 65_536
FIRST_PIECE = 65_536


class TestWriteBuffer:
    def test_bytes_leave_in_the_order_they_were_written(self) -> None:
        buffer = WriteBuffer()
        pieces = [bytes([number]) * (7 * number) for number in range(1, 60)]
        for piece in pieces:
            buffers.write(buffer, piece)
        assert buffer.size == sum(map(len, pieces))
        assert buffers.take(buffer) == b"".join(pieces)
        assert buffer.size == 0
        assert buffers.take(buffer) == b""

    def test_a_buffer_can_be_filled_again_after_it_was_taken(self) -> None:
        buffer = WriteBuffer()
        buffers.write(buffer, b"first")
        buffers.take(buffer)
        buffers.write(buffer, b"second")
        assert buffers.written(buffer) == b"second"

    def test_a_frame_that_was_begun_can_be_cut_off(self) -> None:
        buffer = WriteBuffer()
        buffers.write(buffer, b"whole")
        buffers.write(buffer, b"begun")
        buffers.keep(buffer, 5)
        buffers.write(buffer, b"!")
        assert buffers.take(buffer) == b"whole!"

    def test_an_empty_buffer_has_no_memory_until_it_is_used(self) -> None:
        assert buffers.capacity(WriteBuffer()) == 0

    def test_the_memory_of_small_frames_is_kept_for_the_next_ones(self) -> None:
        buffer = WriteBuffer()
        buffers.write(buffer, bytes(KEPT))
        buffers.clear(buffer)
        assert buffers.capacity(buffer) == KEPT

    def test_the_memory_of_a_burst_is_freed_when_it_is_over(self) -> None:
        buffer = WriteBuffer()
        buffers.write(buffer, bytes(KEPT + 1))
        assert buffers.capacity(buffer) > KEPT
        buffers.clear(buffer)
        assert buffers.capacity(buffer) == 0

    def test_memory_in_use_is_not_released(self) -> None:
        buffer = WriteBuffer()
        buffers.write(buffer, b"waiting")
        buffers.release(buffer)
        assert buffers.written(buffer) == b"waiting"
        buffers.clear(buffer)
        buffers.release(buffer)
        assert buffers.capacity(buffer) == 0


class TestReadBuffer:
    def test_it_has_the_capacity_it_was_made_with(self) -> None:
        assert ReadBuffer(1_000).capacity == 1_000

    def test_more_memory_than_there_is_raises(self) -> None:
        with pytest.raises(MemoryError):
            ReadBuffer(2**62)


class TestAssembly:
    @pytest.mark.parametrize("size", [1, 1_000, FIRST_PIECE, FIRST_PIECE + 1, 1_000_003])
    @pytest.mark.parametrize("piece", [1_000, 4_096, 200_000])
    def test_pieces_become_the_payload(self, size: int, piece: int) -> None:
        payload = bytes(range(256)) * (size // 256 + 1)
        payload = payload[:size]
        assembly = Assembly(size)
        for start in range(0, size, piece):
            buffers.append(assembly, payload[start : start + piece])
        assert (assembly.filled, assembly.total) == (size, size)
        assert buffers.finish(assembly) == payload

    def test_a_payload_of_no_bytes_is_empty(self) -> None:
        assembly = Assembly(0)
        buffers.append(assembly, b"")
        assert buffers.finish(assembly) == b""

    def test_a_payload_that_ends_early_keeps_its_received_bytes(self) -> None:
        assembly = Assembly(1_000_000)
        buffers.append(assembly, b"all there is")
        assert buffers.finish(assembly) == b"all there is"

    def test_memory_follows_the_received_bytes_and_not_the_announced_size(self) -> None:
        assembly = Assembly(2**40)
        received = 0
        for _ in range(20):
            buffers.append(assembly, bytes(50_000))
            received += 50_000
            assert buffers.capacity(assembly) <= max(FIRST_PIECE, 2 * received)

    def test_a_peer_that_delivered_a_large_payload_is_given_more_memory_at_once(self) -> None:
        trusted = Assembly(10_000_000)
        buffers.append(trusted, bytes(100_000), trusted=8_000_000)
        # Sixteen times the received bytes, within the bytes delivered before.
        assert buffers.capacity(trusted) == 1_600_000
        little = Assembly(10_000_000)
        buffers.append(little, bytes(100_000), trusted=200_000)
        assert buffers.capacity(little) == 200_000

    def test_trusted_memory_grows_to_its_full_size_while_little_would_be_copied(self) -> None:
        assembly = Assembly(16_000_000)
        sizes = []
        for _ in range(64):
            buffers.append(assembly, bytes(250_000), trusted=16_000_000)
            sizes.append(buffers.capacity(assembly))
        assert sizes[0] == 4_000_000
        assert sizes[4:] == [16_000_000] * 60

    def test_with_little_memory_a_payload_takes_little_more_than_its_received_bytes(self) -> None:
        buffers.note_memory(True)
        try:
            assembly = Assembly(8_000_000)
            received = 0
            while received < 8_000_000:
                room = buffers.place(assembly, 8_000_000 - received)
                assert room <= max(FIRST_PIECE, received // 8)
                assert buffers.capacity(assembly) <= received + FIRST_PIECE + received // 4
                buffers.append(assembly, bytes(min(50_000, room)), trusted=8_000_000)
                received = assembly.filled
            assert len(buffers.finish(assembly)) == 8_000_000
        finally:
            buffers.note_memory(False)

    def test_no_more_memory_is_taken_than_was_announced(self) -> None:
        assembly = Assembly(70_000)
        buffers.append(assembly, bytes(66_000))
        assert buffers.capacity(assembly) == 70_000

    def test_an_assembly_is_empty_once_its_payload_is_handed_over(self) -> None:
        assembly = Assembly(100_000)
        buffers.append(assembly, bytes(100_000))
        payload = buffers.finish(assembly)
        assert (assembly.filled, buffers.capacity(assembly)) == (0, 0)
        assert buffers.finish(assembly) == b""
        assert len(payload) == 100_000

    def test_a_payload_that_was_handed_over_is_not_written_to_by_the_next_one(self) -> None:
        kept = []
        for number in range(4):
            assembly = Assembly(100_000)
            buffers.append(assembly, bytes([number]) * 100_000)
            kept.append(buffers.finish(assembly))
        assert kept == [bytes([number]) * 100_000 for number in range(4)]

    def test_an_assembly_that_is_dropped_half_way_frees_its_memory(self) -> None:
        for _ in range(1_000):
            buffers.append(Assembly(50_000_000), bytes(1_000), trusted=50_000_000)
