"""What a compressor is, the table that finds one, and the output that cannot outgrow its limit."""

import importlib
from collections.abc import Generator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from io import BytesIO
from typing import Protocol, TypeAlias, cast

from fastrpc.errors import ConfigError, DecodeError

__all__ = [
    "BoundedOutput",
    "Compressor",
    "Payload",
    "available",
    "compress_if_smaller",
    "compressor_named",
    "compressor_names",
    "compressor_with_id",
    "decompress_steps",
    "run_steps",
]

#: Bytes as they arrive from the wire.
Payload: TypeAlias = bytes | bytearray | memoryview

#: What a step-wise decompression yields between its steps and returns at its end.
Steps: TypeAlias = Generator[None, None, bytes]

ENTRY_POINT_GROUP = "fastrpc.compressors"

#: Numbers below this one are given out in PROTOCOL.md; compressors from elsewhere choose above it.
FIRST_FREE_WIRE_ID = 64
LAST_WIRE_ID = 255

# name -> (wire id, module, class). A compressor is imported when it is first asked for.
_BUILT_IN = {
    "gzip": (1, "fastrpc.compressors.gzip", "GzipCompressor"),
    "lz4": (2, "fastrpc.compressors.lz4", "Lz4Compressor"),
    "zstd": (3, "fastrpc.compressors.zstd", "ZstdCompressor"),
}
_BUILT_IN_NAMES = {wire_id: name for name, (wire_id, _, _) in _BUILT_IN.items()}


class Compressor(Protocol):
    """Makes payload smaller and whole again. One object serves all threads.

    A compressor may also have `decompress_steps(payload, max_size)`, a generator that yields about
    every millisecond and returns the result, so that an event loop can turn in between.
    """

    name: str
    wire_id: int

    def compress(self, payload: Payload) -> bytes:
        """Return `payload` as one self-contained frame; it may come out larger."""

    def decompress(self, payload: Payload, max_size: int) -> bytes:
        """Return what one whole frame holds.

        DecodeError when the output passes `max_size` bytes (found with at most 64 KiB more), and for
        input that is damaged, cut short, or followed by anything. A size that the frame announces is
        never believed.
        """


@cache
def compressor_named(name: str) -> Compressor:
    """Return the compressor called `name`; ConfigError says what to install or which names exist."""
    if name in _BUILT_IN:
        _, module, attribute = _BUILT_IN[name]
        return cast(Compressor, getattr(importlib.import_module(module), attribute)())
    entry_point = _installed().get(name)
    if entry_point is None:
        raise ConfigError(f"no compressor is called {name!r}; there are {', '.join(compressor_names())}")
    return _load(entry_point)


def compressor_with_id(wire_id: int) -> Compressor:
    """Return the compressor whose number on the wire is `wire_id`; ConfigError when there is none."""
    name = _BUILT_IN_NAMES.get(wire_id)
    if name is None and wire_id >= FIRST_FREE_WIRE_ID:
        name = next((found.name for found in available() if found.wire_id == wire_id), None)
    if name is None:
        raise ConfigError(
            f"no compressor has the number {wire_id}; there are {', '.join(compressor_names())}"
        )
    return compressor_named(name)


def compressor_names() -> tuple[str, ...]:
    """Return the names `compressor_named` knows, whether their packages are installed or not."""
    return (*_BUILT_IN, *sorted(_installed()))


@cache
def available() -> tuple[Compressor, ...]:
    """Return the compressors that work here, in the order of their numbers."""
    found = []
    for name in compressor_names():
        try:
            found.append(compressor_named(name))
        except ConfigError:
            continue
    return tuple(sorted(found, key=lambda compressor: compressor.wire_id))


def compress_if_smaller(payload: Payload, compressor: Compressor) -> bytes | None:
    """Return `payload` compressed, or None when that does not pay and it should be sent as it is."""
    compressed = compressor.compress(payload)
    return compressed if len(compressed) < len(payload) else None


def decompress_steps(compressor: Compressor, payload: Payload, max_size: int) -> Steps:
    """Return a generator of short steps whose return value is `compressor.decompress(payload, max_size)`.

    A compressor without steps of its own does all the work in one.
    """
    own_steps = getattr(compressor, "decompress_steps", None)
    if own_steps is not None:
        return cast(Steps, own_steps(payload, max_size))
    return _single_step(compressor, payload, max_size)


def run_steps(steps: Steps) -> bytes:
    """Run a decompression to its end and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast(bytes, end.value)


class BoundedOutput:
    """Collects pieces into one bytes object of at most `max_size` bytes.

    Memory grows with the bytes written, never by announcement, and its sum stays at `max_size`: the
    pieces are written into the final object, which is not copied at the end.
    """

    __slots__ = ("_buffer", "_capacity", "_max_size", "_name", "size")

    def __init__(self, name: str, max_size: int) -> None:
        self._name = name
        self._max_size = max_size
        self._buffer = BytesIO()
        self._capacity = 0
        #: Bytes written so far.
        self.size = 0

    def write(self, piece: bytes) -> None:
        """Append `piece`; DecodeError names the limit when that would pass it."""
        needed = self.size + len(piece)
        if needed > self._max_size:
            raise DecodeError(
                f"{self._name} payload grows past {self._max_size} bytes when decompressed",
                hint="raise Limits.message_bytes on the receiving side, or stream the value",
            )
        if needed > self._capacity:
            self._grow(needed)
        self._buffer.write(piece)
        self.size = needed

    def finish(self) -> bytes:
        """Return everything written. The output cannot be used afterwards."""
        self._buffer.truncate(self.size)
        # The buffer is handed over, not copied, as nothing else refers to it.
        return self._buffer.getvalue()

    def _grow(self, needed: int) -> None:
        # BytesIO over-allocates when it grows by less than an eighth and is exact above that.
        capacity = min(max(needed, self._capacity * 2), self._max_size)
        self._buffer.seek(capacity - 1)
        self._buffer.write(b"\0")
        self._buffer.seek(self.size)
        self._capacity = capacity


def _single_step(compressor: Compressor, payload: Payload, max_size: int) -> Steps:
    return compressor.decompress(payload, max_size)
    yield


@cache
def _installed() -> dict[str, EntryPoint]:
    # A package cannot replace a built-in compressor: its name would mean two things on the wire.
    found = entry_points(group=ENTRY_POINT_GROUP)
    return {entry_point.name: entry_point for entry_point in found if entry_point.name not in _BUILT_IN}


def _load(entry_point: EntryPoint) -> Compressor:
    label = f"compressor {entry_point.name!r} ({entry_point.value})"
    try:
        loaded = entry_point.load()
    except Exception as error:
        raise ConfigError(f"{label} does not load: {error}") from error
    compressor = cast(Compressor, loaded() if isinstance(loaded, type) else loaded)
    if compressor.name != entry_point.name:
        raise ConfigError(f"{label} calls itself {compressor.name!r}")
    if not FIRST_FREE_WIRE_ID <= compressor.wire_id <= LAST_WIRE_ID:
        raise ConfigError(
            f"{label} has wire_id {compressor.wire_id}; "
            f"installed compressors use {FIRST_FREE_WIRE_ID} to {LAST_WIRE_ID}"
        )
    return compressor
