"""lz4: a low compression ratio, very fast."""

from collections.abc import Iterator

import lz4.frame

from fastrpc.assigned_numbers import COMPRESSORS
from fastrpc.compressors.base import (
    NO_CHECKSUM,
    Payload,
    Steps,
    bounded_steps,
    damaged,
    pieces_of,
    run_steps,
)

__all__ = ["Lz4Compressor"]

# Frame header: 4 bytes of magic number, flags, block descriptor, …
# https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
MAGIC = b"\x04\x22\x4d\x18"
FLAGS_OFFSET = 4
DICTIONARY_FLAG = 0x01
CHECKSUM_FLAG = 0x04
CONTENT_SIZE_FLAG = 0x08
BLOCK_SIZE_OFFSET = 5
CONTENT_SIZE = slice(6, 14)
HEADER_SIZE = 7

#: The code of blocks of 64 KiB; the codes 5 to 7 mean 256 KiB, 1 MiB and 4 MiB. The library sets two blocks of memory
#: aside as soon as it has read the header.
LARGEST_BLOCK_SIZE_CODE = 4


class Lz4Compressor:
    """One lz4 frame per payload, in blocks of 64 KiB, with its size and a checksum over the content."""

    name = "lz4"
    wire_id = COMPRESSORS["lz4"]

    def compress(self, payload: Payload) -> bytes:
        compressed: bytes = lz4.frame.compress(
            payload, block_size=lz4.frame.BLOCKSIZE_MAX64KB, content_checksum=True, store_size=True
        )
        return compressed

    def compress_pieces(self, payload: Payload) -> Iterator[bytes]:
        frame = lz4.frame.LZ4FrameCompressor(
            block_size=lz4.frame.BLOCKSIZE_MAX64KB, content_checksum=True, auto_flush=False
        )
        yield frame.begin()
        for piece in pieces_of(payload):
            yield frame.compress(piece)
        yield frame.flush()

    def decompress(self, payload: Payload, max_size: int) -> bytes:
        return run_steps(self.decompress_steps(payload, max_size))

    def stated_size(self, payload: bytes) -> int | None:
        """Return the size that the header of the frame states, or None."""
        return _content_size(payload)

    def decompress_steps(self, payload: Payload, max_size: int) -> Steps:
        _check_header(payload)
        context = lz4.frame.create_decompression_context()

        def feed(data: memoryview, room: int) -> tuple[bytes, int, bool]:
            piece, consumed, is_whole = lz4.frame.decompress_chunk(context, data, max_length=room)
            return piece, consumed, is_whole

        return bounded_steps(self.name, payload, max_size, feed, RuntimeError, _content_size(payload))


def _content_size(payload: Payload) -> int | None:
    if len(payload) < CONTENT_SIZE.stop or not payload[FLAGS_OFFSET] & CONTENT_SIZE_FLAG:
        return None
    return int.from_bytes(payload[CONTENT_SIZE], "little")


def _check_header(payload: Payload) -> None:
    # This also excludes skippable and legacy frames, which begin with other numbers.
    if len(payload) < HEADER_SIZE or payload[:4] != MAGIC:
        raise damaged(Lz4Compressor.name, "it does not begin with the header of an lz4 frame")
    if payload[FLAGS_OFFSET] & DICTIONARY_FLAG:
        raise damaged(Lz4Compressor.name, "it asks for a dictionary, and dictionaries are never agreed on")
    block_size_code = payload[BLOCK_SIZE_OFFSET] >> 4 & 7
    if block_size_code > LARGEST_BLOCK_SIZE_CODE:
        raise damaged(
            Lz4Compressor.name,
            f"its blocks are {1 << block_size_code * 2 - 2} KiB, the limit is 64 KiB",
        )
    # Required as for zstd: if a decoder returns memory that it did not write, the checksum differs.
    if not payload[FLAGS_OFFSET] & CHECKSUM_FLAG:
        raise damaged(Lz4Compressor.name, NO_CHECKSUM)
