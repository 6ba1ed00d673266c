"""Numbers of codecs and compressors that PROTOCOL.md assigns, the same on both sides of every connection."""

from typing import Final

__all__ = ["CODECS", "COMPRESSORS", "FIRST_OWN_NUMBER", "LAST_NUMBER"]

CODECS: Final = {"raw": 0, "msgpack": 1, "json": 2, "protobuf": 3}

#: 0 stands for no compressor.
COMPRESSORS: Final = {"gzip": 1, "lz4": 2, "zstd": 3}

#: Each side assigns the numbers from this one on itself (`_core/framing/settings.pxd` for C).
FIRST_OWN_NUMBER: Final = 64
LAST_NUMBER: Final = 255
