"""Attacks from advisories of 2025 and 2026 on other decoders, tried with ours."""

import contextlib
import itertools
import random
import sys
from collections.abc import Iterator

import pytest

from fastrpc.compressors import base
from fastrpc.compressors.base import (
    Compressor,
    compressor_named,
    compressor_numbers,
    decompress_steps,
    run_steps,
)
from fastrpc.errors import DecodeError
from tests.conftest import Scale

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 1 << 20
TEXT = b"some text that repeats, and repeats, and repeats. " * 60
NAMES = [known.name for known in compressor_numbers().values()]

RAW, RLE, PACKED, RESERVED = range(4)


@pytest.fixture(params=NAMES)
def compressor(request: pytest.FixtureRequest) -> Compressor:
    return compressor_named(request.param)


def block(kind: int, content: bytes, size: int | None = None, *, is_last: bool = False) -> bytes:
    size = len(content) if size is None else size
    return (size << 3 | kind << 1 | is_last).to_bytes(3, "little") + content


def packed_block(text: bytes) -> bytes:
    """Return the content of the one compressed block that zstd makes of a text."""
    frame = zstd.compress(text, options={zstd.CompressionParameter.content_size_flag: 0})
    # Magic, descriptor, window; then the head of the block.
    head = int.from_bytes(frame[6:9], "little")
    assert (head & 1, head >> 1 & 3) == (1, PACKED)
    return frame[9 : 9 + (head >> 3)]


def blocks() -> dict[str, tuple[int, bytes, int | None, bytes | None]]:
    """Blocks: kind, content, stated size, and output; None if no output is allowed."""
    packed = packed_block(TEXT)
    return {
        "raw": (RAW, b"abc", None, b"abc"),
        "raw of nothing": (RAW, b"", None, b""),
        "repeated": (RLE, b"x", 1_000, b"x" * 1_000),
        "packed": (PACKED, packed, None, TEXT),
        "packed, cut off": (PACKED, packed[:-3], None, None),
        "packed without literals of its own": (PACKED, bytes([0x03]) + packed[1:], None, None),
        "reserved": (RESERVED, b"abc", None, None),
        "larger than the window": (RLE, b"x", 200_000, None),
    }


@pytest.mark.parametrize(("first", "second"), list(itertools.product(blocks(), repeat=2)))
def test_zstd_frame_of_two_blocks_is_its_content_or_refused(first: str, second: str) -> None:
    *head, before = blocks()[first]
    *tail, behind = blocks()[second]
    contents = [before, behind]
    content = b"".join(part for part in contents if part is not None)
    checksum = zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})[-4:]
    # A window of 64 KiB.
    frame = b"\x28\xb5\x2f\xfd\x04\x30" + block(*head) + block(*tail, is_last=True) + checksum
    frames = compressor_named("zstd")
    if None in contents:
        with pytest.raises(DecodeError):
            frames.decompress(frame, LIMIT)
    else:
        assert frames.decompress(frame, LIMIT) == content


def test_damaged_frame_never_becomes_another_content(compressor: Compressor, scale: Scale) -> None:
    chance = scale.random(7)
    content = random.Random(5).randbytes(500) + TEXT * 3
    whole = compressor.compress(content)
    for _ in range(scale(400)):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 5))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with contextlib.suppress(DecodeError):
            assert compressor.decompress(damaged, LIMIT) == content


@contextlib.contextmanager
def failing_allocation(number: int) -> Iterator[None]:
    """Let an allocation of this thread fail, after the given number of other allocations."""
    testing = pytest.importorskip("_testcapi", reason="this CPython has no part for its tests")
    testing.set_nomemory(number, number + 1)
    try:
        yield
    finally:
        testing.remove_mem_hooks()


def test_compressor_is_whole_after_an_allocation_failed(compressor: Compressor, scale: Scale) -> None:
    """State that a thread keeps between its frames would carry half a frame into the next one."""
    expected = compressor.compress(TEXT)
    for number in range(scale(60)):
        with contextlib.suppress(MemoryError), failing_allocation(number):
            compressor.compress(TEXT + bytes(100_000))
        assert compressor.compress(TEXT) == expected


def test_payload_whose_output_finds_no_memory_is_refused_and_the_next_one_read(
    compressor: Compressor, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = compressor.compress(TEXT)

    def no_memory(output: base.BoundedOutput, piece: bytes) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(base.BoundedOutput, "write", no_memory)
        with pytest.raises(DecodeError, match="MemoryError"):
            run_steps(decompress_steps(compressor, packed, LIMIT))
    assert run_steps(decompress_steps(compressor, packed, LIMIT)) == TEXT
