"""The names that stand at the positions of a call, PROTOCOL.md section 4 "Names of positions"."""

from collections.abc import Iterable, Sequence

__all__ = ["names_refuse", "names_told"]

FNV_OFFSET, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
MOST_TOLD = 255
WORD = 2**64


def names_told(names: Sequence[str]) -> int:
    """Return the u64 that encodes these names, of all positions up to the highest one sent."""
    if not 1 <= len(names) <= MOST_TOLD:
        return 0
    value = FNV_OFFSET
    for byte in b"".join(name.encode() + b"\n" for name in names):
        value = (value ^ byte) * FNV_PRIME % WORD
    return (value >> 8 << 8) | len(names)


def names_refuse(told: int, *spellings: Iterable[str]) -> bool:
    """Return whether a call with this u64 must not start if the parameters may be spelled in these ways."""
    count = told & 0xFF
    return bool(count) and told not in {names_told(list(spelling)[:count]) for spelling in spellings}
