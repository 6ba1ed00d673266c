"""What every compressor must do with good, large, damaged and hostile payloads."""

import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from fastrpc.compressors.base import (
    Compressor,
    PackSteps,
    compress_if_smaller,
    compress_steps,
    compressor_named,
    decompress_steps,
    run_steps,
    stated_size,
)
from fastrpc.errors import DecodeError
from tests.support.stopwatch import longest_step

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
LIMIT = 16 * MIB

TEXT = (b"the quick brown fox jumps over the lazy dog, says record %d; " * 20_000)[:MIB]
NOISE = random.Random(7).randbytes(MIB)


@pytest.fixture(params=["gzip", "lz4", "zstd", "deflate"])
def compressor(request: pytest.FixtureRequest) -> Compressor:
    return compressor_named(request.param)


@pytest.mark.parametrize(
    "payload",
    [b"", b"a", b"abc" * 100, TEXT, NOISE, bytes(3 * MIB)],
    ids=["0", "1", "300", "text", "noise", "0s"],
)
def test_payload_survives_the_round_trip(compressor: Compressor, payload: bytes) -> None:
    compressed = compressor.compress(payload)
    assert compressor.decompress(compressed, LIMIT) == payload
    assert run_steps(decompress_steps(compressor, compressed, LIMIT)) == payload


@pytest.mark.parametrize("payload", [b"a" * 40 * KIB, TEXT, bytes(3 * MIB)], ids=["40 KiB", "text", "0s"])
def test_data_compressed_in_steps_is_one_frame(compressor: Compressor, payload: bytes) -> None:
    *sizes, packed = outcome_of(compress_steps(compressor, payload))
    assert isinstance(packed, bytes)
    assert compressor.decompress(packed, LIMIT) == payload
    assert run_steps(decompress_steps(compressor, packed, LIMIT)) == payload
    # One step for each piece, and the bytes so far are reported.
    assert len(sizes) >= len(payload) // (16 * KIB)
    assert sizes == sorted(sizes)
    assert sizes[-1] == len(packed) <= 2 * len(compressor.compress(payload))


def test_compression_in_steps_ends_where_it_does_not_pay(compressor: Compressor) -> None:
    assert outcome_of(compress_steps(compressor, NOISE))[-1] is None


def test_a_frame_of_zstd_states_its_size_however_it_was_made() -> None:
    packed = outcome_of(compress_steps(compressor_named("zstd"), TEXT))[-1]
    assert zstd.get_frame_info(packed).decompressed_size == len(TEXT)


def outcome_of(steps: PackSteps) -> list[Any]:
    """Return the steps of a compression, and after them its result."""
    found: list[Any] = []
    while True:
        try:
            found.append(next(steps))
        except StopIteration as end:
            return [*found, end.value]


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_payload_may_be_any_buffer(compressor: Compressor, buffer: Any) -> None:
    compressed = compressor.compress(buffer(b"abc" * 100))
    restored = compressor.decompress(buffer(compressed), 300)
    assert restored == b"abc" * 100
    assert type(compressed) is type(restored) is bytes


def test_buffer_is_free_again_after_use(compressor: Compressor) -> None:
    buffer = bytearray(compressor.compress(TEXT))
    compressor.decompress(buffer, LIMIT)
    buffer.extend(b"an exported buffer could not grow")
    with pytest.raises(DecodeError):
        compressor.decompress(buffer, LIMIT)
    buffer.extend(b"not even after an error")


def test_repeated_text_becomes_small(compressor: Compressor) -> None:
    compressed = compress_if_smaller(TEXT, compressor)
    assert compressed is not None
    assert len(compressed) <= 64 * KIB


def test_random_bytes_are_sent_uncompressed(compressor: Compressor) -> None:
    assert compress_if_smaller(NOISE, compressor) is None


def test_output_at_the_limit_passes_and_one_byte_more_does_not(compressor: Compressor) -> None:
    compressed = compressor.compress(TEXT)
    assert len(compressor.decompress(compressed, MIB)) == MIB
    with pytest.raises(DecodeError, match=f"grows past {MIB - 1} bytes") as caught:
        compressor.decompress(compressed, MIB - 1)
    assert caught.value.hint is not None
    assert "Limits.message_bytes" in caught.value.hint


def test_limit_of_zero_allows_only_empty_messages(compressor: Compressor) -> None:
    assert compressor.decompress(compressor.compress(b""), 0) == b""
    with pytest.raises(DecodeError, match="grows past 0 bytes"):
        compressor.decompress(compressor.compress(b"a"), 0)


@pytest.mark.parametrize("size", [0, 1, 300, 20 * KIB])
def test_payload_cut_short_is_refused(compressor: Compressor, size: int) -> None:
    compressed = compressor.compress(NOISE[:size])
    for end in {*range(min(len(compressed), 40)), len(compressed) - 9, len(compressed) - 1}:
        with pytest.raises(DecodeError, match=f"{compressor.name} payload cannot be decompressed"):
            compressor.decompress(compressed[:end], LIMIT)


@pytest.mark.parametrize("tail", [b"\0", b"garbage", bytes(20 * KIB)])
@pytest.mark.parametrize("payload", [b"abc", TEXT], ids=["small", "large"])
def test_bytes_after_the_frame_are_refused(compressor: Compressor, payload: bytes, tail: bytes) -> None:
    compressed = compressor.compress(payload) + tail
    with pytest.raises(DecodeError, match=f"{len(tail)} bytes follow its frame"):
        compressor.decompress(compressed, LIMIT)


@pytest.mark.parametrize("name", ["lz4", "zstd", "deflate"])
def test_second_frame_is_refused(name: str) -> None:
    compressor = compressor_named(name)
    with pytest.raises(DecodeError, match="bytes follow its frame"):
        compressor.decompress(compressor.compress(b"abc") * 2, LIMIT)


@pytest.mark.parametrize("size", [0, 1, 300, 20 * KIB, MIB])
def test_members_of_gzip_are_one_payload(size: int) -> None:
    compressor = compressor_named("gzip")
    parts = [NOISE[:size], TEXT[:size], b"", NOISE[-size:]]
    compressed = b"".join(compressor.compress(part) for part in parts)
    assert compressor.decompress(compressed, LIMIT) == b"".join(parts)
    with pytest.raises(DecodeError, match="ends before its frame does"):
        compressor.decompress(compressed[:-1], LIMIT)
    with pytest.raises(DecodeError, match="7 bytes follow its frame"):
        compressor.decompress(compressed + b"garbage", LIMIT)


def test_members_of_gzip_grow_no_further_than_the_limit() -> None:
    compressor = compressor_named("gzip")
    with pytest.raises(DecodeError, match="grows past 1000 bytes"):
        compressor.decompress(compressor.compress(bytes(300)) * 4, 1000)


@pytest.mark.parametrize("payload", [b"abc", TEXT, NOISE], ids=["3", "text", "noise"])
def test_payload_states_its_size(compressor: Compressor, payload: bytes) -> None:
    # A stream of zlib states no size.
    size = LIMIT if compressor.name == "deflate" else len(payload)
    assert stated_size(compressor, compressor.compress(payload), LIMIT) == size
    assert stated_size(compressor, compressor.compress(payload), 2) == min(len(payload), 2)


@pytest.mark.parametrize("junk", [b"", b"\0", b"junk", NOISE[:100]])
def test_junk_states_at_most_the_limit(compressor: Compressor, junk: bytes) -> None:
    assert 0 <= stated_size(compressor, junk, LIMIT) <= LIMIT


def test_compressor_that_cannot_tell_a_size_states_the_limit() -> None:
    class Silent:
        name = "silent"
        wire_id = 70

        def compress(self, payload: Any) -> bytes:
            return bytes(payload)

        def decompress(self, payload: Any, max_size: int) -> bytes:
            return bytes(payload)

    class Failing(Silent):
        def stated_size(self, payload: bytes) -> int | None:
            raise ValueError("it is damaged")

    assert stated_size(Silent(), b"abc", LIMIT) == stated_size(Failing(), b"abc", LIMIT) == LIMIT


def test_members_of_gzip_state_the_sum_of_their_sizes() -> None:
    compressor = compressor_named("gzip")
    members = [compressor.compress(part) for part in (TEXT, b"", NOISE[:1000], bytes(50_000))]
    assert stated_size(compressor, b"".join(members), LIMIT) == MIB + 1000 + 50_000


@pytest.mark.parametrize("count", [2, 3, 20])
def test_members_too_long_to_be_searched_state_the_limit(count: int) -> None:
    compressor = compressor_named("gzip")
    assert stated_size(compressor, compressor.compress(NOISE[: 800 * KIB]) * count, LIMIT) == LIMIT


def test_steps_tell_the_memory_that_they_take_before_they_take_it(compressor: Compressor) -> None:
    steps = decompress_steps(compressor, compressor.compress(TEXT[: 100 * KIB]), LIMIT)
    told = [size for size in steps if size is not None]
    assert told == sorted(set(told))
    # Without a stated size it grows twofold.
    assert told[-1] == (128 * KIB if compressor.name == "deflate" else 100 * KIB)


def test_frame_within_a_frame_is_opened_once(compressor: Compressor) -> None:
    inner = compressor.compress(TEXT)
    assert compressor.decompress(compressor.compress(inner), LIMIT) == inner


def test_damage_anywhere_is_found(compressor: Compressor) -> None:
    payload = TEXT[: 4 * KIB]
    compressed = compressor.compress(payload)
    for place in range(len(compressed)):
        damaged = bytearray(compressed)
        damaged[place] ^= 0x55
        try:
            restored = compressor.decompress(damaged, LIMIT)
        except DecodeError:
            continue
        # Some header bytes, such as gzip's time, say nothing about the content.
        assert restored == payload, place


@pytest.mark.parametrize("payload", [b"", b"\0", b"not compressed at all", bytes(100), NOISE])
def test_bytes_that_are_not_a_frame_are_refused(compressor: Compressor, payload: bytes) -> None:
    with pytest.raises(DecodeError, match=f"{compressor.name} payload cannot be decompressed"):
        compressor.decompress(payload, LIMIT)


def gzip_bomb() -> bytes:
    """Return a member of 1 GiB of zeros, joined from one compressed mebibyte that repeats itself."""
    writer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    mebibyte = writer.compress(bytes(MIB)) + writer.flush(zlib.Z_FULL_FLUSH)
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    checksum = 0
    for _ in range(GIB // MIB):
        checksum = zlib.crc32(ZEROS, checksum)
    trailer = checksum.to_bytes(4, "little") + (GIB).to_bytes(4, "little")
    return head + mebibyte * (GIB // MIB) + b"\x03\x00" + trailer


def deflate_bomb() -> bytes:
    """Return a stream of 1 GiB of zeros, joined like a stream of gzip."""
    writer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    mebibyte = writer.compress(bytes(MIB)) + writer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + mebibyte * (GIB // MIB) + b"\x03\x00" + bytes(4)


def lz4_bomb() -> bytes:
    import lz4.frame

    writer = lz4.frame.LZ4FrameCompressor(content_checksum=True)
    pieces = [writer.begin(), *(writer.compress(ZEROS) for _ in range(GIB // MIB)), writer.flush()]
    return b"".join(pieces)


def zstd_bomb() -> bytes:
    writer = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1})
    return b"".join([*(writer.compress(ZEROS) for _ in range(GIB // MIB)), writer.flush()])


ZEROS = bytes(MIB)
BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": gzip_bomb,
    "lz4": lz4_bomb,
    "zstd": zstd_bomb,
    "deflate": deflate_bomb,
}


@pytest.fixture(scope="module", params=list(BOMBS))
def bomb(request: pytest.FixtureRequest) -> tuple[Compressor, bytes]:
    return compressor_named(request.param), BOMBS[request.param]()


def peak_of_refusal(compressor: Compressor, payload: bytes, limit: int) -> int:
    """Return the most memory in use while a payload is refused."""
    tracemalloc.start()
    try:
        compressor.decompress(payload, limit)
    except DecodeError:
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    raise AssertionError(f"{len(payload)} bytes came out as {limit} or fewer")


def test_bomb_is_refused_with_the_limit_named(bomb: tuple[Compressor, bytes]) -> None:
    compressor, payload = bomb
    assert len(payload) < 5 * MIB
    with pytest.raises(DecodeError, match=f"grows past {LIMIT} bytes"):
        compressor.decompress(payload, LIMIT)


@pytest.mark.measures
@pytest.mark.parametrize("limit", [64 * KIB, MIB, LIMIT])
def test_bomb_stops_at_the_limit_with_its_memory(bomb: tuple[Compressor, bytes], limit: int) -> None:
    compressor, payload = bomb
    peak_of_refusal(compressor, payload, 100)  # what is loaded on first use is no memory of the bomb
    assert peak_of_refusal(compressor, payload, limit) <= limit + 64 * KIB


@pytest.mark.measures
def test_whole_payload_needs_no_second_copy(compressor: Compressor) -> None:
    compressed = compressor.compress(NOISE * 4)
    compressor.decompress(compressed, LIMIT)
    tracemalloc.start()
    try:
        restored = compressor.decompress(compressed, 4 * MIB)
        assert tracemalloc.get_traced_memory()[1] <= 4 * MIB + 64 * KIB
    finally:
        tracemalloc.stop()
    assert len(restored) == 4 * MIB


@pytest.mark.measures
def test_no_step_of_a_bomb_stalls_the_loop(bomb: tuple[Compressor, bytes]) -> None:
    compressor, payload = bomb
    assert longest_step(lambda: decompress_steps(compressor, payload, LIMIT), DecodeError) <= 0.05
