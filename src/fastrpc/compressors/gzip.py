"""gzip, by the standard library's zlib: always available, slower than the others."""

import zlib
from collections.abc import Iterator

from fastrpc.assigned_numbers import COMPRESSORS
from fastrpc.compressors.base import Payload, Steps, bounded_steps, pieces_of, run_steps

__all__ = ["GzipCompressor"]

#: A level of zlib, 1 to 9. On JSON records level 6 takes three times as long, and its output is a fifth smaller.
LEVEL = 1

#: The value of `wbits` for a gzip member instead of a bare zlib stream, with the largest window (zlib.h, inflateInit2).
GZIP_MEMBER = 16 + zlib.MAX_WBITS


# A member begins with the magic number, the method (8) and a byte of flags, three of them reserved. It ends with the
# size of its content (RFC 1952, 2.3).
MAGIC = b"\x1f\x8b"
MEMBER_START = MAGIC + b"\x08"
FLAGS_OFFSET = 3
KNOWN_FLAGS = b"\x1f"
SIZE_BYTES = 4

#: SEARCHED_BYTES: the most bytes that the search for members reads. SEARCHED_MEMBERS: the most members that it finds.
#: With these limits it takes a millisecond or two.
SEARCHED_BYTES = 512 * 1024
SEARCHED_MEMBERS = 1_000


class GzipCompressor:
    """One gzip member per payload (RFC 1952), without name or time; several members are read as one payload."""

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

    def stated_size(self, payload: bytes) -> int | None:
        """Return the sum of the sizes that the members state, None if it is unknown."""
        size = _last_size(payload)
        place = 0
        for _ in range(SEARCHED_MEMBERS):
            place = payload.find(MEMBER_START, place + 1, SEARCHED_BYTES)
            if place < 0:
                # A member is hardly longer than its content: a much longer payload has further members.
                return size if len(payload) <= size + size // 1024 + 1024 else None
            if payload[place + FLAGS_OFFSET : place + FLAGS_OFFSET + 1] <= KNOWN_FLAGS:
                # The size of the previous member. After a match by chance these bytes are arbitrary, and most likely
                # too large a number.
                size += int.from_bytes(payload[place - SIZE_BYTES : place], "little")
        return None

    def decompress_steps(self, payload: Payload, max_size: int) -> Steps:
        member = zlib.decompressobj(wbits=GZIP_MEMBER)
        taken = 0

        def feed(data: memoryview, room: int) -> tuple[bytes, int, bool]:
            nonlocal member, taken
            if member.eof:
                member = zlib.decompressobj(wbits=GZIP_MEMBER)
            piece = member.decompress(data, room)
            left = len(member.unused_data) if member.eof else len(member.unconsumed_tail)
            taken += len(data) - left
            return piece, len(data) - left, member.eof and payload[taken : taken + len(MAGIC)] != MAGIC

        return bounded_steps(self.name, payload, max_size, feed, zlib.error, _last_size(payload))


def _last_size(payload: Payload) -> int:
    """Return the size that the last member states, which is 0 for an empty payload."""
    return int.from_bytes(payload[-SIZE_BYTES:], "little")
