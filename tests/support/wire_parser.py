"""Bytes to frames: the preface and the H and B checks of PROTOCOL.md section 3.3."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.wire_frames import Frame, Header, Skipped, decode_body
from tests.support.wire_layout import (
    FLAG_ACK,
    FLAG_CONT,
    FLAG_FINAL,
    FLAG_IDEMPOTENT,
    FLAG_MORE,
    FLAG_ONE_WAY,
    FLAG_STREAM_IN,
    FLAG_STREAM_OUT,
    FLAG_WAITED,
    FLOOR_WINDOW,
    HEADER,
    HIGHEST_ID,
    MAGIC,
    UNKNOWN_FRAME_BYTES,
    Kind,
    Reason,
    WireError,
    is_client_id,
)

__all__ = ["Parser", "Preface"]

PREFACE_BYTES = 8
SHAPE = FLAG_STREAM_IN | FLAG_STREAM_OUT

FLAGS = {
    Kind.SETTINGS: FLAG_ACK,
    Kind.REQUEST: FLAG_MORE | SHAPE | FLAG_ONE_WAY | FLAG_IDEMPOTENT,
    Kind.RESPONSE: FLAG_MORE,
    Kind.HEAD: 0,
    Kind.DATA: FLAG_MORE | FLAG_CONT | FLAG_WAITED,
    Kind.END: 0,
    Kind.CANCEL: 0,
    Kind.CREDIT: 0,
    Kind.PING: FLAG_ACK,
    Kind.GOAWAY: FLAG_FINAL,
    Kind.AUTH: FLAG_ACK,
}

CONNECTION_KINDS = {Kind.SETTINGS, Kind.PING, Kind.GOAWAY, Kind.AUTH}
CALLER_KINDS = {Kind.REQUEST, Kind.END, Kind.CANCEL}
CALLEE_KINDS = {Kind.RESPONSE, Kind.HEAD}
WINDOW_KINDS = {Kind.REQUEST, Kind.RESPONSE, Kind.HEAD, Kind.DATA}

#: Shortest and longest body by kind and by the one flag that matters; None = MAX_FRAME alone.
LENGTHS: dict[tuple[int, int], tuple[int, int | None]] = {
    (Kind.SETTINGS, 0): (0, 4_096),
    (Kind.SETTINGS, FLAG_ACK): (0, 0),
    (Kind.REQUEST, 0): (16, None),
    (Kind.REQUEST, FLAG_MORE): (24, None),
    (Kind.RESPONSE, 0): (16, None),
    (Kind.RESPONSE, FLAG_MORE): (24, None),
    (Kind.HEAD, 0): (0, None),
    (Kind.DATA, 0): (0, None),
    (Kind.DATA, FLAG_MORE): (8, None),
    (Kind.DATA, FLAG_CONT): (1, None),
    (Kind.DATA, FLAG_CONT | FLAG_MORE): (0, None),
    (Kind.END, 0): (0, 0),
    (Kind.CANCEL, 0): (4, 4),
    (Kind.CREDIT, 0): (4, 4),
    (Kind.PING, 0): (8, 8),
    (Kind.PING, FLAG_ACK): (8, 8),
    (Kind.GOAWAY, 0): (16, 1_040),
    (Kind.AUTH, 0): (4, 16_384),
    (Kind.AUTH, FLAG_ACK): (8, 16_384),
}


@dataclass(frozen=True, slots=True)
class Preface:
    """The eight bytes that open a connection."""

    lowest: int = 1
    highest: int = 1
    features: int = 0

    def encode(self) -> bytes:
        return MAGIC + bytes([self.lowest, self.highest]) + self.features.to_bytes(2, "little")


class Parser:
    """Cuts received bytes into checked frames.

    `feed` keeps bytes, `next_frame` takes one frame at a time, so that its user may change `max_frame`
    and `window_left` between two frames. `consumed` counts the bytes of good frames, preface included.
    """

    def __init__(self, is_server: bool, *, max_frame: int = FLOOR_WINDOW, has_preface: bool = True) -> None:
        self._is_server = is_server
        self._buffer = bytearray()
        self._header: Header | None = None
        self._waits_for_preface = has_preface
        self._waits_for_settings = has_preface
        self.max_frame = max_frame
        self.window_left = FLOOR_WINDOW
        self.consumed = 0
        #: Bytes of the frame taken last, header included.
        self.last_size = 0

    def feed(self, data: bytes) -> None:
        """Keep received bytes."""
        self._buffer += data

    def __iter__(self) -> Iterator[Preface | Frame]:
        """Yield complete frames; `WireError` at the first broken rule."""
        while (found := self.next_frame()) is not None:
            yield found

    def next_frame(self) -> Preface | Frame | None:
        """Return the next frame, or None until more bytes have come."""
        if self._waits_for_preface:
            return self._take_preface()
        if self._header is None:
            if len(self._buffer) < HEADER.size:
                return None
            self._header = Header.decode(self._buffer)
            self._check_header(self._header)
        header = self._header
        size = HEADER.size + header.length
        if len(self._buffer) < size:
            return None
        body = bytes(self._buffer[HEADER.size : size])
        frame = Skipped(header.kind, header.length) if is_skipped(header) else decode_body(header, body)
        del self._buffer[:size]
        self._header = None
        self.consumed += size
        self.last_size = size
        return frame

    def _take_preface(self) -> Preface | None:
        start = bytes(self._buffer[: len(MAGIC)])
        if not MAGIC.startswith(start):
            raise WireError(Reason.PROTOCOL, "this is not the native protocol", announced=False)
        if len(self._buffer) < PREFACE_BYTES:
            return None
        lowest, highest = self._buffer[4], self._buffer[5]
        features = int.from_bytes(self._buffer[6:8], "little")
        del self._buffer[:PREFACE_BYTES]
        self._waits_for_preface = False
        self.consumed += PREFACE_BYTES
        return Preface(lowest, highest, features)

    def _check_header(self, header: Header) -> None:
        """Make the H checks in their order and take the frame's bytes from the window."""
        if header.length > self.max_frame:
            raise WireError(
                Reason.FRAME_SIZE, f"a frame of {header.length} bytes, the limit is {self.max_frame}"
            )
        if self._waits_for_settings:
            if header.kind != Kind.SETTINGS or header.flags & FLAG_ACK:
                raise WireError(Reason.PROTOCOL, "the first frame is not SETTINGS")
            self._waits_for_settings = False
        if is_skipped(header):
            check_skipped(header)
            return
        check_flags(header)
        self._check_id(header)
        check_length(header)
        if header.kind in WINDOW_KINDS:
            cost = HEADER.size + header.length
            if cost > self.window_left:
                raise WireError(Reason.CREDIT, f"{cost} bytes, the window has {self.window_left} left")
            self.window_left -= cost

    def _check_id(self, header: Header) -> None:
        kind, call_id = header.kind, header.id
        if kind in CONNECTION_KINDS:
            sound = call_id == 0
        elif kind == Kind.CREDIT:
            sound = call_id <= HIGHEST_ID
        else:
            sound = 0 < call_id <= HIGHEST_ID
        # A server receives from a client, whose own ids are odd.
        if kind in CALLER_KINDS:
            sound = sound and is_client_id(call_id) == self._is_server
        elif kind in CALLEE_KINDS:
            sound = sound and is_client_id(call_id) != self._is_server
        if not sound:
            raise WireError(Reason.PROTOCOL, f"{Kind(kind).name} with id {call_id}")


def is_skipped(header: Header) -> bool:
    """Say whether a frame has no meaning here: TEST, or an unknown kind, critical or not."""
    return header.kind not in FLAGS


def check_skipped(header: Header) -> None:
    if header.kind & 0x80:
        raise WireError(Reason.PROTOCOL, f"kind {header.kind:#x} is critical and unknown")
    if header.length > UNKNOWN_FRAME_BYTES:
        raise WireError(
            Reason.FRAME_SIZE, f"{header.length} bytes of unknown kind, the limit is {UNKNOWN_FRAME_BYTES}"
        )


def check_flags(header: Header) -> None:
    if header.flags & ~FLAGS[Kind(header.kind)]:
        raise WireError(Reason.PROTOCOL, f"flags {header.flags:#x} on {Kind(header.kind).name}")
    is_one_way = header.kind == Kind.REQUEST and header.flags & FLAG_ONE_WAY
    if is_one_way and header.flags & SHAPE:
        raise WireError(Reason.PROTOCOL, "ONE_WAY together with a stream")


def check_length(header: Header) -> None:
    relevant = header.flags & (FLAG_MORE | FLAG_CONT | FLAG_ACK)
    shortest, longest = LENGTHS[header.kind, relevant]
    if header.length < shortest or (longest is not None and header.length > longest):
        raise WireError(Reason.FRAME_SIZE, f"{Kind(header.kind).name} of {header.length} bytes")
