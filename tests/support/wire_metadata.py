"""Metadata blocks: entries of u8 key length, u8 0, u16 value length, key, value."""

import re
import struct
from collections.abc import Iterable

__all__ = ["decode_metadata", "encode_metadata", "metadata_problem"]

ENTRY = struct.Struct("<BBH")

#: Each entry counts this much more than its bytes: the cost of keeping it, as in HTTP/2.
ENTRY_OVERHEAD = 32

KEY = re.compile(rb"[a-z0-9._-]+\Z")


def encode_metadata(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write entries as they are; nothing is checked."""
    return b"".join(ENTRY.pack(len(key), 0, len(value)) + key + value for key, value in entries)


def decode_metadata(block: bytes) -> list[tuple[bytes, bytes]]:
    """Cut a block into entries; ValueError when one overruns it or has no key."""
    entries = []
    offset = 0
    while offset < len(block):
        if offset + ENTRY.size > len(block):
            raise ValueError(f"an entry begins {len(block) - offset} bytes before the end of the block")
        key_size, _, value_size = ENTRY.unpack_from(block, offset)
        start = offset + ENTRY.size
        offset = start + key_size + value_size
        if key_size == 0 or offset > len(block):
            raise ValueError(f"an entry of {key_size} + {value_size} bytes does not fit the block")
        entries.append((block[start : start + key_size], block[start + key_size : offset]))
    return entries


def metadata_problem(block: bytes, limit: int) -> str | None:
    """Return None for a good block, "over" for one beyond the limit, "malformed" for a broken one."""
    if len(block) > limit:
        return "over"
    try:
        entries = decode_metadata(block)
    except ValueError:
        return "malformed"
    if sum(len(key) + len(value) + ENTRY_OVERHEAD for key, value in entries) > limit:
        return "over"
    if len({key for key, _ in entries}) < len(entries):
        return "malformed"
    return None if all(is_sound(key, value) for key, value in entries) else "malformed"


def is_sound(key: bytes, value: bytes) -> bool:
    """Say whether a key is spelled as it should be and its value is text where text is promised."""
    if not KEY.match(key):
        return False
    if key.endswith(b"-bin"):
        return True
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
