"""The interface of compressors, the table that finds one, and the bounded output of decompression."""

import importlib
from collections.abc import Callable, Generator, Iterator
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from fastrpc.assigned_numbers import COMPRESSORS
from fastrpc.errors import ConfigError, DecodeError
from fastrpc.installed import free_number, installed, load
from fastrpc.status import Status

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "NO_CHECKSUM",
    "BoundedOutput",
    "Compressor",
    "Feed",
    "PackSteps",
    "Payload",
    "Steps",
    "bounded_steps",
    "compress_if_smaller",
    "compress_steps",
    "compressor_label",
    "compressor_named",
    "compressor_names",
    "compressor_numbers",
    "damaged",
    "pieces_of",
    "decompress_steps",
    "run_steps",
    "stated_size",
]

#: Bytes as they arrive from the wire.
Payload: TypeAlias = bytes | bytearray | memoryview

#: A decompression in steps: a generator that yields between its steps and returns the output. If its output is about to
#: grow it yields the new size in bytes, else None.
Steps: TypeAlias = Generator[int | None, None, bytes]

#: A compression in steps: between its steps it yields the number of output bytes so far; it returns the frame, or None
#: if the payload does not shrink.
PackSteps: TypeAlias = Generator[int, None, bytes | None]

#: Takes input and a limit of output; returns the output, the bytes of input used, and whether the frame is complete.
Feed: TypeAlias = Callable[[memoryview, int], tuple[bytes, int, bool]]

#: The most bytes that a step reads (STEP_INPUT_BYTES) and writes (STEP_OUTPUT_BYTES). With zlib's state of about 45 KiB
#: a decompression stays below 64 KiB in addition to its output; larger steps are hardly faster.
STEP_INPUT_BYTES = 4 * 1024
STEP_OUTPUT_BYTES = 8 * 1024

#: The input of one step of a compression: gzip takes 0.6 ms for it.
PIECE_BYTES = 16 * 1024

#: The reason to refuse a frame of zstd or lz4 whose header says that no checksum over the content follows.
NO_CHECKSUM = "its frame has no checksum over the content"

ENTRY_POINT_GROUP = "fastrpc.compressors"

# The one table of compressors: name -> (number on the wire, module, class, package for pip). A compressor is imported
# on first use.
_BUILT_IN = {
    "gzip": (COMPRESSORS["gzip"], "fastrpc.compressors.gzip", "GzipCompressor", "fastrpc"),
    "lz4": (COMPRESSORS["lz4"], "fastrpc.compressors.lz4", "Lz4Compressor", "lz4"),
    "zstd": (COMPRESSORS["zstd"], "fastrpc.compressors.zstd", "ZstdCompressor", "fastrpc[zstd]"),
    "deflate": (COMPRESSORS["deflate"], "fastrpc.compressors.deflate", "DeflateCompressor", "fastrpc"),
}


class Compressor(Protocol):
    """Compresses and decompresses payload. One object serves all threads.

    A compressor may also have `decompress_steps(payload, max_size)`, a generator that yields every few microseconds of
    work and returns the result, so that an event loop can run in between. It yields the next size of its output if it
    is about to grow, else None. For the same reason it may have `compress_pieces(payload)`, which returns an iterator
    of the pieces of the frame: each is less than a millisecond of work. Payloads above 256 KiB are compressed in this
    way. A compressor may also have `stated_size(payload)`, which returns the decompressed size that a payload states,
    or None.

    `wire_id` is the preferred number of an installed compressor. Each process assigns the real one, which may differ
    between the two sides: the name identifies the compressor.
    """

    name: str
    wire_id: int

    def compress(self, payload: Payload) -> bytes:
        """Return `payload` as one self-contained frame, which may be larger."""

    def decompress(self, payload: Payload, max_size: int) -> bytes:
        """Return the content of one whole frame.

        Raises DecodeError if the output exceeds `max_size` bytes (which is detected after at most 64 KiB more), and for
        input that is damaged, truncated, or followed by more bytes. A size that the frame announces is never trusted.
        """


class _Sized(Protocol):
    def stated_size(self, payload: bytes) -> int | None: ...


@cache
def compressor_named(name: str) -> Compressor:
    """Return the compressor called `name`; ConfigError names the package to install or the known names."""
    if name in _BUILT_IN:
        _, module, attribute, requirement = _BUILT_IN[name]
        try:
            return cast(Compressor, getattr(importlib.import_module(module), attribute)())
        except ImportError as error:
            raise ConfigError(
                f"compressor {name!r} needs a package that is not installed: {error}",
                hint=f'pip install "{requirement}"',
            ) from error
    entry_point = _installed().get(name)
    if entry_point is None:
        raise ConfigError(f"no compressor is called {name!r}; there are {', '.join(compressor_names())}")
    return cast(Compressor, load("compressor", entry_point))


def compressor_label(number: int) -> str:
    """Return the name of a compressor by its number in frames, for messages."""
    for name, (known, *_) in _BUILT_IN.items():
        if known == number:
            return repr(name)
    found = compressor_numbers().get(number)
    return f"number {number}" if found is None else repr(found.name)


def compressor_names() -> tuple[str, ...]:
    """Return the names that `compressor_named` accepts, whether their packages are installed or not."""
    return (*_BUILT_IN, *sorted(_installed()))


@cache
def compressor_numbers() -> dict[int, Compressor]:
    """Return the usable compressors, by the numbers that this process announces, in order.

    Installed compressors have their preferred number or the next free one, as two packages may prefer the same number.
    """
    numbers: dict[int, Compressor] = {}
    for name in compressor_names():
        try:
            found = compressor_named(name)
        except ConfigError:
            continue  # reported when it is requested by name
        if name in _BUILT_IN:
            numbers[_BUILT_IN[name][0]] = found
            continue
        number = free_number(found.wire_id, numbers)
        if number is not None:
            numbers[number] = found
    return dict(sorted(numbers.items()))


def compress_if_smaller(payload: Payload, compressor: Compressor) -> bytes | None:
    """Return `payload` compressed, or None if it does not shrink and should be sent uncompressed."""
    made: Any = compressor.compress(payload)
    # An installed compressor may return another kind of bytes.
    compressed = made if type(made) is bytes else bytes(memoryview(made))
    return compressed if len(compressed) < len(payload) else None


def compress_steps(compressor: Compressor, payload: bytes) -> PackSteps:
    """Return a generator of short steps whose return value is `compress_if_smaller(payload, compressor)`.

    A compressor without pieces does all the work in one.
    """
    own_pieces = getattr(compressor, "compress_pieces", None)
    if own_pieces is None:
        yield 0
        return compress_if_smaller(payload, compressor)
    output = BytesIO()
    size = 0
    for piece in own_pieces(payload):
        size += output.write(piece)
        if size >= len(payload):
            return None
        yield size
    return output.getvalue()


def pieces_of(payload: Payload) -> Iterator[memoryview]:
    """Yield a payload in pieces for `compress_pieces`."""
    with memoryview(payload) as view:
        for place in range(0, len(view), PIECE_BYTES):
            yield view[place : place + PIECE_BYTES]


def stated_size(compressor: Compressor, payload: bytes, max_size: int) -> int:
    """Return the decompressed size that a payload states; `max_size` if it states none or a larger one."""
    if not hasattr(compressor, "stated_size"):
        return max_size
    try:
        size = cast(_Sized, compressor).stated_size(payload)
    except Exception:
        # The decompression that follows reports the damage.
        return max_size
    return size if isinstance(size, int) and 0 <= size < max_size else max_size


def decompress_steps(compressor: Compressor, payload: Payload, max_size: int) -> Steps:
    """Return a generator of short steps whose return value is `compressor.decompress(payload, max_size)`.

    A compressor without steps does all the work in one.

    Raises:
        DecodeError: for every error of the compressor, even in the first step; an installed one may raise anything.
    """
    own_steps: Callable[[Payload, int], Steps] | None = getattr(compressor, "decompress_steps", None)
    try:
        if own_steps is not None:
            unpacked = yield from own_steps(payload, max_size)
        else:
            yield None
            unpacked = compressor.decompress(payload, max_size)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"the payload cannot be decompressed: {error!r}") from error
    if not isinstance(unpacked, bytes):
        raise DecodeError(
            f"compressor {compressor.name!r} returned {type(unpacked).__name__}, it must return bytes"
        )
    return unpacked


def run_steps(steps: Steps) -> bytes:
    """Run a decompression to its end and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast(bytes, end.value)


def bounded_steps(
    name: str,
    payload: Payload,
    max_size: int,
    feed: Feed,
    failure: type[Exception],
    stated: int | None = None,
) -> Steps:
    """Decompress one frame by `feed`, a piece at a time: implementations use this for their steps.

    `failure` is the exception that `feed` raises for damaged input, `stated` the size that the frame states.
    """
    output = BoundedOutput(name, max_size, stated)
    with memoryview(payload) as view:
        size = len(view)
        place = 0
        is_whole = False
        idle_steps = 0
        while not is_whole:
            try:
                piece, consumed, is_whole = feed(view[place : place + STEP_INPUT_BYTES], STEP_OUTPUT_BYTES)
            except failure as error:
                raise damaged(name, error) from error
            place += consumed
            if output.size + len(piece) > output.capacity:
                # The caller may end the decompression here, depending on the memory that it has counted.
                yield output.capacity_for(len(piece))
            output.write(piece)
            # The decompressor may still hold output after the last input, so a single idle step does not mean damage.
            idle_steps = 0 if piece or consumed else idle_steps + 1
            if idle_steps > 1:
                raise damaged(name, "it ends before its frame does")
            del piece  # freed before the next piece is allocated
            if not is_whole:
                yield None
    if place < size:
        raise damaged(name, f"{size - place} bytes follow its frame")
    return output.finish()


def damaged(name: str, reason: object) -> DecodeError:
    """Return the DecodeError for a payload that is not exactly one acceptable frame."""
    return DecodeError(f"{name} payload cannot be decompressed: {reason}")


class BoundedOutput:
    """Collects pieces into one bytes object of at most `max_size` bytes.

    Memory grows with the written bytes, never with an announced size, and stays within `max_size`: the
    pieces are written into the final object, which is not copied at the end.
    """

    __slots__ = ("_buffer", "_max_size", "_name", "_stated", "capacity", "size")

    def __init__(self, name: str, max_size: int, stated: int | None = None) -> None:
        self._name = name
        self._max_size = max_size
        self._stated = max_size if stated is None else min(stated, max_size)
        self._buffer = BytesIO()
        #: Bytes of memory allocated so far.
        self.capacity = 0
        #: Bytes written so far.
        self.size = 0

    def write(self, piece: bytes) -> None:
        """Append `piece`; DecodeError names the limit if `piece` would exceed it."""
        capacity = self.capacity_for(len(piece))
        if capacity > self.capacity:
            self._buffer.seek(capacity - 1)
            self._buffer.write(b"\0")
            self._buffer.seek(self.size)
            self.capacity = capacity
        self._buffer.write(piece)
        self.size += len(piece)

    def capacity_for(self, more: int) -> int:
        """Return the size of the buffer with `more` bytes added; DecodeError names a limit that they would exceed."""
        needed = self.size + more
        if needed > self._max_size:
            raise DecodeError(
                f"{self._name} payload grows past {self._max_size} bytes when decompressed",
                status=Status.RESOURCE_EXHAUSTED,
                hint="raise Limits.message_bytes on the receiving side",
            )
        if needed <= self.capacity:
            return self.capacity
        # BytesIO allocates more than it needs if it grows by less than an eighth, and exactly as much if it grows by
        # more. So the last growth must not be a small one.
        capacity = max(needed, self.capacity * 2)
        for end in (self._stated, self._max_size):
            if needed <= end < capacity + capacity // 4:
                return end
        return capacity

    def finish(self) -> bytes:
        """Return everything written. The output cannot be used afterwards."""
        self._buffer.truncate(self.size)
        # The buffer is returned without a copy, as it has no other reference.
        return self._buffer.getvalue()


@cache
def _installed() -> "dict[str, EntryPoint]":
    return installed(ENTRY_POINT_GROUP, _BUILT_IN)
