"""The wire of rpcx in pure Python, written from PROTOCOL.md: the reference for the compiled codec."""

import gzip
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

__all__ = ["Frame", "RpcxParser", "WireError", "answered_with", "frames_in", "metadata_block", "metadata_in"]

MAGIC = 0x08
RAW, JSON, PROTOBUF, MSGPACK = range(4)


class WireError(Exception):
    """These bytes are no frames."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame; `payload` is its content, compressed or not."""

    path: str = ""
    method: str = ""
    sequence: int = 0
    serialize: int = MSGPACK
    metadata: dict[str, str] = field(default_factory=dict)
    payload: bytes = b""
    response: bool = False
    heartbeat: bool = False
    one_way: bool = False
    compress: int = 0
    status: int = 0
    version: int = 0
    low_nibble: int = 0
    #: The first byte as it came.
    magic: int = field(default=MAGIC, compare=False)

    def encode(self, magic: int = MAGIC) -> bytes:
        flags = (
            self.response << 7 | self.heartbeat << 6 | self.one_way << 5 | self.compress << 2 | self.status
        )
        parts = (self.path.encode(), self.method.encode(), metadata_block(self.metadata), self.payload)
        rest = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        head = bytes((magic, self.version, flags, self.serialize << 4 | self.low_nibble))
        return head + self.sequence.to_bytes(8, "big") + len(rest).to_bytes(4, "big") + rest

    def inflated(self) -> bytes:
        """Return the payload as its codec made it."""
        return gzip.decompress(self.payload) if self.compress == 1 else self.payload

    def value(self) -> Any:
        """Return the value in the payload."""
        data = self.inflated()
        if self.serialize == MSGPACK:
            return msgspec.msgpack.decode(data)
        return msgspec.json.decode(data) if self.serialize == JSON else data

    @property
    def error(self) -> str | None:
        """The text of an error, None without an error."""
        if self.status != 1:
            return None
        return self.metadata.get("__rpcx_error__", self.metadata.get("__phobos_error__"))


def call(path: str, method: str, value: Any = None, *, serialize: int = MSGPACK, **fields: Any) -> Frame:
    """Return the request that calls a method with one value."""
    if serialize == MSGPACK:
        payload = msgspec.msgpack.encode(value)
    else:
        payload = msgspec.json.encode(value) if serialize == JSON else value
    return Frame(path=path, method=method, payload=payload, serialize=serialize, **fields)


def answered_with(request: Frame, value: Any, **fields: Any) -> Frame:
    """Return the response to a request."""
    return replace(
        request,
        response=True,
        payload=msgspec.msgpack.encode(value),
        **{"metadata": {}, "compress": 0, **fields},
    )


def metadata_block(entries: dict[str, str] | Iterable[tuple[str, str]]) -> bytes:
    """Return entries as a block; pairs may hold a key twice."""
    pairs = entries.items() if isinstance(entries, dict) else entries
    texts = [text.encode("utf-8", "surrogateescape") for pair in pairs for text in pair]
    return b"".join(len(text).to_bytes(4, "big") + text for text in texts)


def metadata_in(block: bytes) -> dict[str, str]:
    """Return the entries of a block; the last of two equal keys counts."""
    texts = []
    while block:
        size = int.from_bytes(block[:4], "big")
        if len(block) < 4 or size > len(block) - 4:
            raise WireError("an entry of the metadata runs past its block")
        texts.append(block[4 : 4 + size].decode("utf-8", "surrogateescape"))
        block = block[4 + size :]
    if len(texts) % 2:
        raise WireError("a key without a value")
    return dict(zip(texts[::2], texts[1::2], strict=True))


class RpcxParser:
    """Cuts bytes into frames."""

    def __init__(self, magic: int | None = MAGIC) -> None:
        #: The first byte that frames have to have, None: any.
        self.magic = magic
        self.rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are whole now."""
        self.rest += data
        frames = []
        while (size := self._size()) and len(self.rest) >= size:
            frames.append(_frame(self.rest[:size]))
            self.rest = self.rest[size:]
        return frames

    def _size(self) -> int:
        if self.rest and self.magic is not None and self.rest[0] != self.magic:
            raise WireError(f"magic {self.rest[0]:#x}")
        if len(self.rest) < 16:
            return 0
        rest = int.from_bytes(self.rest[12:16], "big")
        if rest < 16:
            raise WireError(f"{rest} bytes for four lengths")
        return 16 + rest


def _frame(data: bytes) -> Frame:
    parts = []
    at = 16
    for _ in range(4):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 4 > len(data) or at + 4 + size > len(data):
            raise WireError("a part runs past its frame")
        parts.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(data):
        raise WireError("bytes behind the payload")
    flags = data[2]
    return Frame(
        path=parts[0].decode("utf-8", "surrogateescape"),
        method=parts[1].decode("utf-8", "surrogateescape"),
        sequence=int.from_bytes(data[4:12], "big"),
        serialize=data[3] >> 4,
        metadata=metadata_in(parts[2]),
        payload=parts[3],
        response=bool(flags & 0x80),
        heartbeat=bool(flags & 0x40),
        one_way=bool(flags & 0x20),
        compress=flags >> 2 & 7,
        status=flags & 3,
        version=data[1],
        low_nibble=data[3] & 15,
        magic=data[0],
    )


def frames_in(data: bytes, magic: int | None = MAGIC) -> list[Frame]:
    """Return the frames in these bytes, which have to be whole."""
    parser = RpcxParser(magic)
    frames = parser.feed(data)
    if parser.rest:
        raise WireError(f"{len(parser.rest)} bytes of a frame that is not whole")
    return frames
