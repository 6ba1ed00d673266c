"""gzip, by the standard library's zlib: always available, slower than the others."""

import zlib
from collections.abc import Iterator

from fastrpc.assigned_numbers import COMPRESSORS
from fastrpc.compressors.base import Payload, Steps, bounded_steps, pieces_of, run_steps

__all__ = ["GzipCompressor"]

#: Of zlib's 1 to 9. Six takes three times as long for a fifth less on JSON records.
LEVEL = 1

#: The largest window, in a gzip member instead of a bare zlib stream (zlib.h, inflateInit2).
GZIP_MEMBER = 16 + zlib.MAX_WBITS


class GzipCompressor:
    """One gzip member per payload (RFC 1952), without name or time."""

    name = "gzip"
    wire_id = COMPRESSORS["gzip"]

    def compress(self, payload: Payload) -> bytes:
        return zlib.compress(payload, LEVEL, wbits=GZIP_MEMBER)

    def compress_pieces(self, payload: Payload) -> Iterator[bytes]:
        member = zlib.compressobj(LEVEL, wbits=GZIP_MEMBER)
        for piece in pieces_of(payload):
            yield member.compress(piece)
        yield member.flush()

    def decompress(self, payload: Payload, max_size: int) -> bytes:
        return run_steps(self.decompress_steps(payload, max_size))

    def decompress_steps(self, payload: Payload, max_size: int) -> Steps:
        member = zlib.decompressobj(wbits=GZIP_MEMBER)

        def feed(data: memoryview, room: int) -> tuple[bytes, int, bool]:
            piece = member.decompress(data, room)
            left = len(member.unused_data) if member.eof else len(member.unconsumed_tail)
            return piece, len(data) - left, member.eof

        return bounded_steps(self.name, payload, max_size, feed, zlib.error)
