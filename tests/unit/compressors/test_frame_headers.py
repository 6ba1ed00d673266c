"""Frames whose headers ask for more than a small payload may get."""

import gzip
import struct
import sys
import tracemalloc
import zlib
from typing import Any

import pytest

from fastrpc.compressors.base import compressor_named
from fastrpc.compressors.gzip import GzipCompressor
from fastrpc.compressors.zstd import ZstdCompressor
from fastrpc.errors import DecodeError
from tests.support.stopwatch import longest_step

lz4 = pytest.importorskip("lz4.frame", reason="there is no lz4 for this CPython")

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KIB = 1024
MIB = 1024 * KIB
LIMIT = 16 * MIB

lz4_frames = compressor_named("lz4")
zstd_frames = ZstdCompressor()
gzip_members = GzipCompressor()


def zstd_frame(
    *, window_log: int = 10, announced: int | None = None, content: bytes = b"abc", has_sum: bool = True
) -> bytes:
    """Return a frame of one uncompressed block with a given header."""
    block = struct.pack("<I", 1 | len(content) << 3)[:3] + content
    sum_flag, checksum = (4, zstd_sum(content)) if has_sum else (0, b"")
    if announced is None:
        return b"\x28\xb5\x2f\xfd" + bytes([sum_flag, (window_log - 10) << 3]) + block + checksum
    # Eight bytes of content size; without the single-segment flag there is a window byte too.
    size = bytes([0xC0 | sum_flag, (window_log - 10) << 3]) + struct.pack("<Q", announced)
    return b"\x28\xb5\x2f\xfd" + size + block + checksum


def zstd_sum(content: bytes) -> bytes:
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})[-4:]


def zstd_single_segment(announced: int) -> bytes:
    return b"\x28\xb5\x2f\xfd\xe4" + struct.pack("<Q", announced) + b"\x19\x00\x00abc" + zstd_sum(b"abc")


@pytest.mark.parametrize("window_log", [10, 17, 21])
def test_zstd_window_up_to_two_mebibytes_is_read(window_log: int) -> None:
    assert zstd_frames.decompress(zstd_frame(window_log=window_log), LIMIT) == b"abc"


@pytest.mark.parametrize("window_log", [22, 27, 31, 32, 41])
def test_zstd_window_beyond_two_mebibytes_is_refused(window_log: int) -> None:
    with pytest.raises(DecodeError, match=r"window is \d+ bytes, the limit is 2097152|not valid"):
        zstd_frames.decompress(zstd_frame(window_log=window_log), LIMIT)


@pytest.mark.parametrize("announced", [2 * MIB + 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 3])
def test_zstd_single_segment_is_a_window_too(announced: int) -> None:
    with pytest.raises(DecodeError):
        zstd_frames.decompress(zstd_single_segment(announced), LIMIT)


@pytest.mark.parametrize("announced", [0, 2, 4, 1000, 2**40])
def test_zstd_content_size_that_is_not_true_is_refused(announced: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            zstd_frames.decompress(zstd_frame(announced=announced), LIMIT)
        assert tracemalloc.get_traced_memory()[1] <= 64 * KIB
    finally:
        tracemalloc.stop()


def test_zstd_frame_of_another_writer_is_read() -> None:
    text = b"some text that repeats " * 200_000
    options = {zstd.CompressionParameter.checksum_flag: 1, zstd.CompressionParameter.compression_level: 3}
    assert zstd_frames.decompress(zstd.compress(text, options=options), LIMIT) == text


@pytest.mark.parametrize("content", [b"", b"abc", bytes(100_000)])
def test_zstd_frame_without_checksum_is_refused(content: bytes) -> None:
    for frame in (zstd.compress(content), zstd_frame(content=content, has_sum=False)):
        with pytest.raises(DecodeError, match="has no checksum over the content"):
            zstd_frames.decompress(frame, LIMIT)


def test_zstd_frame_with_a_wrong_checksum_is_refused() -> None:
    frame = bytearray(zstd_frame())
    frame[-1] ^= 1
    with pytest.raises(DecodeError):
        zstd_frames.decompress(frame, LIMIT)


@pytest.mark.parametrize("frames", [zstd_frames, lz4_frames], ids=["zstd", "lz4"])
@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_own_frames_always_have_checksums(frames: Any, size: int) -> None:
    content = bytes(size)
    for frame in (frames.compress(content), b"".join(frames.compress_pieces(content))):
        assert frame[4] & 4
        assert frames.decompress(frame, LIMIT) == content


@pytest.mark.parametrize("flag_and_id", [b"\x01\x00\x07", b"\x02\x00\x07\x00", b"\x03\x00\x07\x00\x00\x00"])
def test_zstd_dictionary_is_refused(flag_and_id: bytes) -> None:
    with pytest.raises(DecodeError, match="asks for a dictionary"):
        zstd_frames.decompress(b"\x28\xb5\x2f\xfd" + flag_and_id + b"\x19\x00\x00abc", LIMIT)


@pytest.mark.parametrize("magic", [b"\x50\x2a\x4d\x18", b"\x5f\x2a\x4d\x18", b"\x27\xb5\x2f\xfd"])
def test_zstd_skippable_and_legacy_frames_are_refused(magic: bytes) -> None:
    with pytest.raises(DecodeError, match="does not begin with"):
        zstd_frames.decompress(magic + b"\x03\x00\x00\x00abc", LIMIT)


def test_zstd_frames_of_nothing_do_not_follow_each_other() -> None:
    nothing = zstd_frames.compress(b"")
    with pytest.raises(DecodeError, match="bytes follow its frame"):
        zstd_frames.decompress(nothing * 100_000, LIMIT)


def test_zstd_blocks_of_nothing_end_with_the_payload() -> None:
    with pytest.raises(DecodeError, match="ends before its frame does"):
        zstd_frames.decompress(b"\x28\xb5\x2f\xfd\x04\x00" + b"\x00\x00\x00" * 1_000_000, LIMIT)


def lz4_header(flags: int, descriptor: int, rest: bytes = b"") -> bytes:
    """Return a frame header with its checksum right (xxHash of 32 bits, its second byte)."""
    fields = bytes([flags, descriptor]) + rest
    return b"\x04\x22\x4d\x18" + fields + bytes([_xxhash32(fields) >> 8 & 0xFF])


def _xxhash32(data: bytes) -> int:
    """Return the xxHash of fewer than 16 bytes (https://github.com/Cyan4973/xxHash, its specification)."""
    one, two, three, four, five = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1
    mask = 0xFFFFFFFF
    value = (five + len(data)) & mask
    whole = len(data) // 4 * 4
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        value = (value + word * three) & mask
        value = (value << 17 | value >> 15) & mask
        value = value * four & mask
    for byte in data[whole:]:
        value = (value + byte * five) & mask
        value = (value << 11 | value >> 21) & mask
        value = value * one & mask
    value = (value ^ value >> 15) * two & mask
    value = (value ^ value >> 13) * three & mask
    return value ^ value >> 16


#: A block, the end mark, and the checksum of lz4 over the content.
STORED_ABC = b"\x03\x00\x00\x80abc" + bytes(4) + _xxhash32(b"abc").to_bytes(4, "little")


def test_lz4_plain_frame_is_read() -> None:
    assert lz4_frames.decompress(lz4_header(0x64, 0x40) + STORED_ABC, LIMIT) == b"abc"


def test_lz4_frame_without_checksum_is_refused() -> None:
    for frame in (lz4_header(0x60, 0x40) + STORED_ABC[:-4], lz4.compress(bytes(100_000))):
        with pytest.raises(DecodeError, match="has no checksum over the content"):
            lz4_frames.decompress(frame, LIMIT)


def test_lz4_frame_with_a_wrong_checksum_is_refused() -> None:
    with pytest.raises(DecodeError):
        lz4_frames.decompress(lz4_header(0x64, 0x40) + STORED_ABC[:-1] + b"x", LIMIT)


@pytest.mark.parametrize("announced", [2, 4, 2**31, 2**40, 2**63, 2**64 - 1])
def test_lz4_content_size_is_not_trusted(announced: int) -> None:
    frame = lz4_header(0x6C, 0x40, struct.pack("<Q", announced)) + STORED_ABC
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            lz4_frames.decompress(frame, LIMIT)
        assert tracemalloc.get_traced_memory()[1] <= 64 * KIB
    finally:
        tracemalloc.stop()


def test_lz4_content_size_that_is_true_is_read() -> None:
    frame = lz4_header(0x6C, 0x40, struct.pack("<Q", 3)) + STORED_ABC
    assert lz4_frames.decompress(frame, LIMIT) == b"abc"


@pytest.mark.parametrize(("code", "kibibytes"), [(5, 256), (6, 1024), (7, 4096)])
def test_lz4_blocks_beyond_64_kibibytes_are_refused(code: int, kibibytes: int) -> None:
    with pytest.raises(DecodeError, match=f"its blocks are {kibibytes} KiB, the limit is 64 KiB"):
        lz4_frames.decompress(lz4_header(0x64, code << 4) + STORED_ABC, LIMIT)


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_lz4_block_size_without_meaning_is_refused(code: int) -> None:
    with pytest.raises(DecodeError):
        lz4_frames.decompress(lz4_header(0x64, code << 4) + STORED_ABC, LIMIT)


def test_lz4_dictionary_is_refused() -> None:
    with pytest.raises(DecodeError, match="asks for a dictionary"):
        lz4_frames.decompress(lz4_header(0x65, 0x40, b"\x07\x00\x00\x00") + STORED_ABC, LIMIT)


@pytest.mark.parametrize("magic", [b"\x50\x2a\x4d\x18", b"\x5f\x2a\x4d\x18", b"\x02\x21\x4c\x18"])
def test_lz4_skippable_and_legacy_frames_are_refused(magic: bytes) -> None:
    with pytest.raises(DecodeError, match="does not begin with"):
        lz4_frames.decompress(magic + b"\x03\x00\x00\x00abc", LIMIT)


@pytest.mark.parametrize("linked", [True, False])
def test_lz4_frame_of_another_writer_is_read(linked: bool) -> None:
    text = b"some text that repeats " * 20_000
    assert (
        lz4_frames.decompress(lz4.compress(text, block_linked=linked, content_checksum=True), LIMIT) == text
    )


def test_gzip_member_of_another_writer_is_read() -> None:
    text = b"some text that repeats " * 20_000
    assert gzip_members.decompress(gzip.compress(text), LIMIT) == text


@pytest.mark.parametrize("container", [zlib.MAX_WBITS, -zlib.MAX_WBITS], ids=["zlib", "bare"])
def test_gzip_without_its_header_is_refused(container: int) -> None:
    with pytest.raises(DecodeError):
        gzip_members.decompress(zlib.compress(b"abc" * 100, wbits=container), LIMIT)


def test_gzip_size_at_the_end_is_compared_only() -> None:
    member = bytearray(gzip_members.compress(b"abc"))
    member[-4:] = b"\xff\xff\xff\xff"
    with pytest.raises(DecodeError, match="length"):
        gzip_members.decompress(member, LIMIT)


def test_gzip_endless_file_name_is_skipped_without_keeping_it() -> None:
    member = b"\x1f\x8b\x08\x08" + bytes(5) + b"\xff" + b"a" * (8 * MIB)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="ends before its frame does"):
            gzip_members.decompress(member, LIMIT)
        assert tracemalloc.get_traced_memory()[1] <= 64 * KIB
    finally:
        tracemalloc.stop()


def empty_dynamic_blocks() -> bytes:
    """Return two blocks without content, for which zlib builds its tables all the same (RFC 1951, 3.2.7)."""
    bits: list[int] = []

    def put(value: int, width: int) -> None:
        bits.extend(value >> place & 1 for place in range(width))

    for _ in range(2):
        put(0b100, 3)  # not the last one, dynamic
        put(0, 5)  # 257 literal codes
        put(0, 5)  # 1 distance code
        put(14, 4)  # 18 code lengths: of the symbols 16, 17, 18, 0, 8, …, 14, 1
        for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1):
            put({18: 1, 0: 2, 1: 2}.get(symbol, 0), 3)
        for run in (138, 118):  # 256 literals have no code
            put(0, 1)
            put(run - 11, 7)
        put(0b11, 2)  # the end of the block has a code of length 1
        put(0b01, 2)  # the distance has none
        put(0, 1)  # the end of the block
    assert len(bits) % 8 == 0
    return sum(bit << place for place, bit in enumerate(bits)).to_bytes(len(bits) // 8, "little")


@pytest.mark.measures
def test_gzip_blocks_of_nothing_take_short_steps() -> None:
    blocks = empty_dynamic_blocks()
    member = b"\x1f\x8b\x08" + bytes(6) + b"\xff" + blocks * (MIB // len(blocks))
    assert longest_step(lambda: gzip_members.decompress_steps(member, LIMIT), DecodeError) <= 0.01
