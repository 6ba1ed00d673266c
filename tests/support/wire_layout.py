"""Numbers of the wire: kinds, flags, reasons and fixed limits, named as in PROTOCOL.md."""

import enum
import struct

__all__ = [
    "CONNECTION_WINDOW",
    "FLAG_ACK",
    "FLAG_CONT",
    "FLAG_FINAL",
    "FLAG_IDEMPOTENT",
    "FLAG_MORE",
    "FLAG_ONE_WAY",
    "FLAG_STREAM_IN",
    "FLAG_STREAM_OUT",
    "FLAG_SUM",
    "FLAG_WAITED",
    "FLOOR_WINDOW",
    "HEADER",
    "HIGHEST_ID",
    "HIGHEST_WINDOW",
    "MAGIC",
    "NO_TIMEOUT",
    "STREAM_MESSAGE_BYTES",
    "VERSION",
    "Kind",
    "Reason",
    "WireError",
    "is_client_id",
]

MAGIC = b"\xf5FRP"
VERSION = 1

#: length, kind, flags, codec, compressor, id
HEADER = struct.Struct("<IBBBBQ")

FLAG_MORE = 0x01
FLAG_CONT = 0x02
FLAG_ACK = 0x04
FLAG_SUM = 0x08
FLAG_STREAM_IN = 0x10
FLAG_FINAL = 0x10
FLAG_WAITED = 0x10
FLAG_STREAM_OUT = 0x20
FLAG_ONE_WAY = 0x40
FLAG_IDEMPOTENT = 0x80

HIGHEST_ID = 2**63 - 1
HIGHEST_WINDOW = 2**31 - 1
FLOOR_WINDOW = 65_536
CONNECTION_WINDOW = 16 * 1024 * 1024
NO_TIMEOUT = 2**64 - 1

UNKNOWN_FRAME_BYTES = 16_384
METHOD_BYTES = 255
MESSAGE_TEXT_BYTES = 4_096
STREAM_MESSAGE_BYTES = 2**30


class Kind(enum.IntEnum):
    """Frame kinds; bit 7 says that a peer must know it."""

    TEST = 0x7F
    SETTINGS = 0x81
    REQUEST = 0x82
    RESPONSE = 0x83
    HEAD = 0x84
    DATA = 0x85
    END = 0x86
    CANCEL = 0x87
    CREDIT = 0x88
    PING = 0x89
    GOAWAY = 0x8A
    AUTH = 0x8B


class Reason(enum.IntEnum):
    """Why a connection ends; the codes of GOAWAY."""

    DRAIN = 0
    MAX_AGE = 1
    PROTOCOL = 2
    FRAME_SIZE = 3
    CREDIT = 4
    CALM_DOWN = 5
    SLOW_READER = 6
    AUTHENTICATION = 7
    SETTINGS = 8
    KEEPALIVE = 9
    INTERNAL = 10
    MEMORY = 11
    HANDSHAKE_TIMEOUT = 12


class WireError(Exception):
    """A connection error: the peer broke a rule. `reason` is the GOAWAY code."""

    def __init__(self, reason: Reason, text: str, *, announced: bool = True) -> None:
        super().__init__(f"{reason.name}: {text}")
        self.reason = reason
        self.text = text
        #: False where no GOAWAY may be sent, because the opening did not get that far.
        self.announced = announced


def is_client_id(call_id: int) -> bool:
    """Say whether the client opens calls of this id; the server's are even."""
    return bool(call_id & 1)
