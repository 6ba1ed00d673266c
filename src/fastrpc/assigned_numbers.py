"""Numbers of codecs and compressors that PROTOCOL.md assigns, the same on both sides of every connection."""

from typing import Final

__all__ = ["CODECS", "COMPRESSORS", "FIRST_OWN_NUMBER", "FOREIGN_CODECS", "LAST_NUMBER", "VALUE_CODECS"]

CODECS: Final = {"raw": 0, "msgpack": 1, "json": 2, "protobuf": 3}

#: 0 stands for no compressor.
COMPRESSORS: Final = {"gzip": 1, "lz4": 2, "zstd": 3, "deflate": 4}

#: Each side assigns the numbers from here on itself (`_core/wire/settings.pxd` for C).
FIRST_OWN_NUMBER: Final = 64
LAST_NUMBER: Final = 255

#: Codecs of other protocols, whose payload is one value and not an array of arguments, have numbers from here on; for
#: rpcx the serialize type is added. No frame of the native protocol may have such a number.
FOREIGN_CODECS: Final = 32
VALUE_CODECS: Final = {FOREIGN_CODECS + 1: "json", FOREIGN_CODECS + 3: "msgpack"}
