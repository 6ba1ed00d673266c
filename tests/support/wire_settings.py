"""SETTINGS: their bytes, their floors, and which value binds while an acknowledgement is under way."""

import re
import struct
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.wire_layout import Reason, WireError

__all__ = ["AnnouncedSettings", "Setting", "decode_settings", "encode_settings", "floor", "usual"]

ENTRY = struct.Struct("<HH")
CRITICAL = 0x8000
LIST_ENTRIES = 32
SCHEMES = 8
AGENT_BYTES = 64
NAME = re.compile(rb"[a-z0-9._-]{1,32}\Z")


class Setting:
    """Names of settings on the wire."""

    MAX_FRAME = 1
    MAX_MESSAGE = 2
    MAX_METADATA = 3
    MAX_CALLS = 4
    MAX_STREAMS = 5
    STREAM_WINDOW = 6
    OPEN_MESSAGES = 7
    CODECS = 8
    COMPRESSORS = 9
    MIN_PING_MS = 10
    PING_REPLY_MS = 11
    FEATURES = 12
    AUTH_SCHEMES = 13
    AGENT = 14
    WORKERS = 15
    CLIENT_ID = 16


@dataclass(frozen=True, slots=True)
class Number:
    """A fixed-width unsigned value and its range."""

    layout: struct.Struct
    lowest: int
    highest: int

    def encode(self, value: int) -> bytes:
        return self.layout.pack(value)

    def decode(self, raw: bytes) -> int:
        require(len(raw) == self.layout.size, f"has {len(raw)} bytes, not {self.layout.size}")
        value: int = self.layout.unpack(raw)[0]
        require(self.lowest <= value <= self.highest, f"is {value}, not {self.lowest} to {self.highest}")
        return value


@dataclass(frozen=True, slots=True)
class NumberedNames:
    """A list of (u8 id, u8 length, name)."""

    lowest_id: int

    def encode(self, value: Iterable[tuple[int, bytes]]) -> bytes:
        return b"".join(bytes([number, len(name)]) + name for number, name in value)

    def decode(self, raw: bytes) -> tuple[tuple[int, bytes], ...]:
        found = []
        offset = 0
        while offset < len(raw):
            require(offset + 2 <= len(raw), "ends inside an entry")
            number, size = raw[offset], raw[offset + 1]
            name = raw[offset + 2 : offset + 2 + size]
            require(len(name) == size and NAME.match(name) is not None, "holds a broken name")
            require(number >= self.lowest_id, f"names id {number}")
            found.append((number, name))
            offset += 2 + size
        require(len(found) <= LIST_ENTRIES, f"has {len(found)} entries, {LIST_ENTRIES} are allowed")
        require(len({number for number, _ in found}) == len(found), "names one id twice")
        return tuple(found)


class Names:
    """A list of (u8 length, name)."""

    def encode(self, value: Iterable[bytes]) -> bytes:
        return b"".join(bytes([len(name)]) + name for name in value)

    def decode(self, raw: bytes) -> tuple[bytes, ...]:
        found = []
        offset = 0
        while offset < len(raw):
            size = raw[offset]
            name = raw[offset + 1 : offset + 1 + size]
            require(len(name) == size and NAME.match(name) is not None, "holds a broken name")
            found.append(name)
            offset += 1 + size
        require(len(found) <= SCHEMES, f"has {len(found)} entries, {SCHEMES} are allowed")
        return tuple(found)


class Text:
    """UTF-8 of bounded length."""

    def encode(self, value: str) -> bytes:
        return value.encode("utf-8")

    def decode(self, raw: bytes) -> str:
        require(len(raw) <= AGENT_BYTES, f"has {len(raw)} bytes, {AGENT_BYTES} are allowed")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise WireError(Reason.SETTINGS, "a setting is not UTF-8") from None


class Octets:
    """A fixed number of bytes."""

    def __init__(self, size: int) -> None:
        self.size = size

    def encode(self, value: bytes) -> bytes:
        return value

    def decode(self, raw: bytes) -> bytes:
        require(len(raw) == self.size, f"has {len(raw)} bytes, not {self.size}")
        return raw


U16, U32, U64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")

SHAPES: dict[int, Number | NumberedNames | Names | Text | Octets] = {
    Setting.MAX_FRAME: Number(U32, 16_384, 16_777_216),
    Setting.MAX_MESSAGE: Number(U64, 4_096, 2**63 - 1),
    Setting.MAX_METADATA: Number(U32, 1_024, 65_535),
    Setting.MAX_CALLS: Number(U32, 0, 2**31 - 1),
    Setting.MAX_STREAMS: Number(U32, 0, 2**31 - 1),
    Setting.STREAM_WINDOW: Number(U32, 16_384, 2**31 - 1),
    Setting.OPEN_MESSAGES: Number(U16, 1, 256),
    Setting.CODECS: NumberedNames(0),
    Setting.COMPRESSORS: NumberedNames(1),
    Setting.MIN_PING_MS: Number(U32, 0, 3_600_000),
    Setting.PING_REPLY_MS: Number(U32, 0, 2**32 - 1),
    Setting.FEATURES: Number(U64, 0, 2**64 - 1),
    Setting.AUTH_SCHEMES: Names(),
    Setting.AGENT: Text(),
    Setting.WORKERS: Number(U16, 1, 65_535),
    Setting.CLIENT_ID: Octets(16),
}


def floor(is_server: bool) -> dict[int, Any]:
    """Return the settings for frames sent to a side before its SETTINGS was read."""
    return {
        Setting.MAX_FRAME: 65_536,
        Setting.MAX_MESSAGE: 65_536,
        Setting.MAX_METADATA: 8_192,
        Setting.MAX_CALLS: 100 if is_server else 0,
        Setting.MAX_STREAMS: 16 if is_server else 0,
        Setting.STREAM_WINDOW: 65_536,
        Setting.OPEN_MESSAGES: 1,
        Setting.CODECS: ((0, b"raw"), (1, b"msgpack")),
        Setting.COMPRESSORS: (),
        Setting.PING_REPLY_MS: 0,
        Setting.FEATURES: 0,
        Setting.AUTH_SCHEMES: (),
        Setting.AGENT: "",
        Setting.WORKERS: 1,
    }


def usual(is_server: bool) -> dict[int, Any]:
    """Return the defaults that a side announces."""
    return floor(is_server) | {
        Setting.MAX_FRAME: 262_144,
        Setting.MAX_MESSAGE: 16_777_216,
        Setting.MAX_CALLS: 10_000 if is_server else 0,
        Setting.MAX_STREAMS: 1_000 if is_server else 0,
        Setting.OPEN_MESSAGES: 4,
        Setting.CODECS: ((0, b"raw"), (1, b"msgpack"), (2, b"json"), (3, b"protobuf")),
        Setting.COMPRESSORS: ((1, b"gzip"),),
        Setting.MIN_PING_MS: 500,
        Setting.PING_REPLY_MS: 10_000,
        Setting.AGENT: "reference",
    }


def encode_settings(values: Mapping[int, Any]) -> bytes:
    """Write known settings by their shape; an unknown name takes bytes."""
    parts = []
    for name, value in values.items():
        raw = SHAPES[name].encode(value) if name in SHAPES else value
        parts.append(ENTRY.pack(name, len(raw)) + raw)
    return b"".join(parts)


def decode_settings(body: bytes, *, is_first: bool) -> tuple[tuple[int, Any], ...]:
    """Read the known settings in the order they stand; `WireError` SETTINGS for anything wrong."""
    found: list[tuple[int, Any]] = []
    seen: set[int] = set()
    offset = 0
    while offset < len(body):
        require(offset + ENTRY.size <= len(body), "ends inside an entry")
        marked, size = ENTRY.unpack_from(body, offset)
        raw = body[offset + ENTRY.size : offset + ENTRY.size + size]
        require(len(raw) == size, f"{marked} overruns the frame")
        offset += ENTRY.size + size
        name = marked & ~CRITICAL
        require(name not in seen, f"{name} comes twice")
        seen.add(name)
        if name not in SHAPES:
            require(not marked & CRITICAL, f"{name} is critical and unknown")
            continue
        require(is_first or name != Setting.STREAM_WINDOW, "STREAM_WINDOW comes only in the first SETTINGS")
        found.append((name, SHAPES[name].decode(raw)))
    return tuple(found)


class AnnouncedSettings:
    """The settings that one side announced: its newest values, and values under way that may still bind the other."""

    def __init__(self, is_server: bool) -> None:
        self._acknowledged = floor(is_server)
        self._under_way: deque[Mapping[int, Any]] = deque()
        self.newest: dict[int, Any] = floor(is_server)
        self.is_acknowledged = False
        #: The highest MAX_CALLS that was announced.
        self.most_calls = 0

    def announce(self, values: Mapping[int, Any]) -> None:
        """Note a SETTINGS that was sent."""
        self.newest |= values
        self.most_calls = max(self.most_calls, self.newest[Setting.MAX_CALLS])
        self._under_way.append(dict(self.newest))

    def acknowledge(self) -> None:
        """Note an ACK; `WireError` when nothing waits for one."""
        require(bool(self._under_way), "an ACK came for no SETTINGS")
        self._acknowledged = dict(self._under_way.popleft())
        self.is_acknowledged = True

    def most_generous(self, name: int) -> int:
        """Return the highest value of a limit that an honest peer may still go by."""
        values: list[int] = [settings[name] for settings in (self._acknowledged, *self._under_way)]
        return max(values)

    def shortest_ping_ms(self) -> int:
        """Return the lowest MIN_PING_MS that an honest peer may still go by."""
        name = Setting.MIN_PING_MS
        values: list[int] = [
            settings[name] for settings in (self._acknowledged, *self._under_way) if name in settings
        ]
        return min(values, default=0)


def require(condition: bool, text: str) -> None:
    if not condition:
        raise WireError(Reason.SETTINGS, f"a setting {text}")
