"""Damage of files of SQLite."""

from pathlib import Path
from typing import Final

__all__ = ["FRAME_BYTES", "HEADER_BYTES", "flip"]

#: A header of the log, and a frame: its own header and a page.
HEADER_BYTES: Final = 32
FRAME_BYTES: Final = 24 + 4096


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
