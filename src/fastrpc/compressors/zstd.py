"""zstd: as small as gzip or smaller, at several times its speed."""

import sys
import threading
from collections.abc import Iterator

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

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

__all__ = ["ZstdCompressor"]

#: A level of zstd, 1 to 22. On JSON records level 3 takes twice as long, and its output is no smaller.
LEVEL = 1

_OPTIONS: dict[int, int] = {
    zstd.CompressionParameter.compression_level: LEVEL,
    zstd.CompressionParameter.checksum_flag: 1,
}

# Frame header: 4 bytes of magic number, flags, and the size of the window, which a frame of a single segment omits
# (RFC 8878, 3.1.1). Skippable frames begin with another magic number.
MAGIC = b"\x28\xb5\x2f\xfd"
FLAGS_OFFSET = 4
SINGLE_SEGMENT_FLAG = 0x20
CHECKSUM_FLAG = 0x04
WINDOW_OFFSET = 5

#: The decoder keeps a window of its output: 2 MiB at most, which zstd's levels up to the default need. A header can ask
#: for 3.75 TiB.
WINDOW_LOG_MAX = 21
WINDOW_BYTES_MAX = 1 << WINDOW_LOG_MAX


class ZstdCompressor:
    """One zstd frame per payload, with a checksum over the content."""

    name = "zstd"
    wire_id = COMPRESSORS["zstd"]

    def compress(self, payload: Payload) -> bytes:
        return _of_thread.frames.compress(payload, zstd.ZstdCompressor.FLUSH_FRAME)

    def compress_pieces(self, payload: Payload) -> Iterator[bytes]:
        frame = zstd.ZstdCompressor(options=_OPTIONS)
        # Make the header state the size, as for a payload in one piece.
        frame.set_pledged_input_size(len(payload))
        for piece in pieces_of(payload):
            yield frame.compress(piece)
        yield frame.flush()

    def decompress(self, payload: Payload, max_size: int) -> bytes:
        return run_steps(self.decompress_steps(payload, max_size))

    def stated_size(self, payload: bytes) -> int | None:
        """Return the size that the header of the frame states, or None."""
        return zstd.get_frame_info(payload).decompressed_size

    def decompress_steps(self, payload: Payload, max_size: int) -> Steps:
        stated = _check_header(payload)
        frame = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX})

        def feed(data: memoryview, room: int) -> tuple[bytes, int, bool]:
            # The frame keeps unused input, so further input would pile up.
            if not frame.needs_input:
                data = data[:0]
            piece = frame.decompress(data, room)
            return piece, len(data) - len(frame.unused_data), frame.eof

        return bounded_steps(self.name, payload, max_size, feed, zstd.ZstdError, stated)


class _CompressorOfThread(threading.local):
    """Makes one frame after another; each is independent.

    A new compression context for each payload would cost ten times as much as a payload of a kilobyte. If all threads
    shared one, the event loop would wait for the compressions of other threads.
    """

    def __init__(self) -> None:
        self.frames = zstd.ZstdCompressor(options=_OPTIONS)


_of_thread = _CompressorOfThread()


def _check_header(payload: Payload) -> int | None:
    """Return the size that an acceptable frame states."""
    if payload[:4] != MAGIC:
        raise damaged(ZstdCompressor.name, "it does not begin with the header of a zstd frame")
    try:
        header = zstd.get_frame_info(payload)
    except zstd.ZstdError as error:
        raise damaged(ZstdCompressor.name, "the header of its frame is not valid") from error
    if header.dictionary_id:
        raise damaged(ZstdCompressor.name, "it asks for a dictionary, and dictionaries are never agreed on")
    window_bytes = _window_bytes(payload, header.decompressed_size or 0)
    if window_bytes > WINDOW_BYTES_MAX:
        raise damaged(
            ZstdCompressor.name, f"its window is {window_bytes} bytes, the limit is {WINDOW_BYTES_MAX}"
        )
    # libzstd 1.5.1 to 1.5.7 can be made to return memory that it did not write (CVE-2026-124851). An attacker cannot
    # know the checksum of that memory in advance.
    if not payload[FLAGS_OFFSET] & CHECKSUM_FLAG:
        raise damaged(ZstdCompressor.name, NO_CHECKSUM)
    return header.decompressed_size


def _window_bytes(payload: Payload, content_bytes: int) -> int:
    """Return the window that a valid frame header asks for (RFC 8878, 3.1.1.1.2)."""
    if payload[FLAGS_OFFSET] & SINGLE_SEGMENT_FLAG:
        return content_bytes
    base = 1 << 10 + (payload[WINDOW_OFFSET] >> 3)
    return base + base // 8 * (payload[WINDOW_OFFSET] & 7)
