"""zlib's format, which HTTP and gRPC call deflate. Prefer gzip: it is no larger and states its size."""

import zlib
from collections.abc import Iterator

from fastrpc.assigned_numbers import COMPRESSORS
from fastrpc.compressors.base import Payload, Steps, bounded_steps, pieces_of, run_steps

__all__ = ["DeflateCompressor"]

#: A level of zlib, 1 to 9, as for gzip.
LEVEL = 1


class DeflateCompressor:
    """One zlib stream per payload (RFC 1950)."""

    name = "deflate"
    wire_id = COMPRESSORS["deflate"]

    def compress(self, payload: Payload) -> bytes:
        return zlib.compress(payload, LEVEL)

    def compress_pieces(self, payload: Payload) -> Iterator[bytes]:
        stream = zlib.compressobj(LEVEL)
        for piece in pieces_of(payload):
            yield stream.compress(piece)
        yield stream.flush()

    def decompress(self, payload: Payload, max_size: int) -> bytes:
        return run_steps(self.decompress_steps(payload, max_size))

    def decompress_steps(self, payload: Payload, max_size: int) -> Steps:
        stream = zlib.decompressobj()

        def feed(data: memoryview, room: int) -> tuple[bytes, int, bool]:
            piece = stream.decompress(data, room)
            left = len(stream.unused_data) if stream.eof else len(stream.unconsumed_tail)
            return piece, len(data) - left, stream.eof

        return bounded_steps(self.name, payload, max_size, feed, zlib.error)
