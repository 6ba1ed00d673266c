"""One dataclass per frame: `encode()` writes it, `decode_body` reads one whose header passed its checks.

Each class draws its body; a frame on the wire is the 16-byte header and this body. The B checks of
PROTOCOL.md section 3.3 live in the `decode` functions.
"""

import dataclasses
import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.wire_layout import (
    FLAG_ACK,
    FLAG_CONT,
    FLAG_FINAL,
    FLAG_MORE,
    FLAG_WAITED,
    HEADER,
    HIGHEST_ID,
    MESSAGE_TEXT_BYTES,
    METHOD_BYTES,
    Kind,
    Reason,
    WireError,
)

__all__ = [
    "Auth",
    "Cancel",
    "Credit",
    "Data",
    "End",
    "Frame",
    "Goaway",
    "Head",
    "Header",
    "Ping",
    "Request",
    "Response",
    "SettingsFrame",
    "Skipped",
    "Verdict",
    "decode_body",
    "encode_frame",
]

#: head_words, attempt, priority, reserved, method_len, metadata_len, timeout_us
REQUEST_HEAD = struct.Struct("<BBBBHHQ")
#: The field with head_words >= 3.
REQUEST_NAMES = struct.Struct("<Q")
#: head_words, outcome, status, message_len, metadata_len, pushback_ms, elapsed_us
RESPONSE_HEAD = struct.Struct("<BBHHHII")
CANCEL_BODY = struct.Struct("<HH")
CREDIT_BODY = struct.Struct("<I")
#: last_id, reason, text_len, retry_after_ms
GOAWAY_HEAD = struct.Struct("<QHHI")
#: round, scheme_len, data_len
AUTH_HEAD = struct.Struct("<BBH")
#: status, message_len, valid_seconds
VERDICT_HEAD = struct.Struct("<HHI")
TOTAL = struct.Struct("<Q")

# A field above its highest value counts as its fallback, see the tables of the bodies.
HIGHEST_PRIORITY = 2
HIGHEST_STATUS, UNKNOWN = 16, 2
UNKNOWN_OUTCOME = 2
HIGHEST_CANCEL_REASON = 4


@dataclass(frozen=True, slots=True)
class Header:
    """The 16 bytes in front of every frame.

    ::

        0      4     5      6      7           8
        length kind  flags  codec  compressor  id
    """

    length: int
    kind: int
    flags: int
    codec: int
    compressor: int
    id: int

    @classmethod
    def decode(cls, raw: bytes | bytearray, offset: int = 0) -> "Header":
        return cls(*HEADER.unpack_from(raw, offset))


def encode_frame(
    kind: int, body: bytes = b"", *, flags: int = 0, id: int = 0, codec: int = 0, compressor: int = 0
) -> bytes:
    """Put a header in front of a body; nothing is checked, so that tests can break every rule."""
    return HEADER.pack(len(body), kind, flags, codec, compressor, id) + body


@dataclass(frozen=True, slots=True)
class SettingsFrame:
    """Entries of (u16 name, u16 length, value), see `wire_settings`; empty with ACK."""

    body: bytes = b""
    ack: bool = False

    def encode(self) -> bytes:
        return encode_frame(Kind.SETTINGS, self.body, flags=FLAG_ACK if self.ack else 0)


@dataclass(frozen=True, slots=True)
class Request:
    """Opens a call.

    ::

        0          1       2        3  4          6            8           8*head_words
        head_words attempt priority 0  method_len metadata_len timeout_us  method metadata [total] payload

    With head_words 3 u64 `names` stands at 16. `total` is None for a whole message.
    """

    id: int
    method: bytes
    payload: bytes = b""
    total: int | None = None
    flags: int = 0
    codec: int = 0
    compressor: int = 0
    attempt: int = 0
    priority: int = 0
    timeout_us: int = 0
    metadata: bytes = b""
    #: The names at the positions of the arguments, see `wire_names`; 0: not sent.
    names: int = 0

    def encode(self) -> bytes:
        words = 3 if self.names else 2
        head = REQUEST_HEAD.pack(
            words, self.attempt, self.priority, 0, len(self.method), len(self.metadata), self.timeout_us
        )
        head += REQUEST_NAMES.pack(self.names) if self.names else b""
        body = head + self.method + self.metadata + encode_total(self.total) + self.payload
        flags = self.flags | (0 if self.total is None else FLAG_MORE)
        return encode_frame(
            Kind.REQUEST, body, flags=flags, id=self.id, codec=self.codec, compressor=self.compressor
        )


@dataclass(frozen=True, slots=True)
class Response:
    """Ends a call.

    ::

        0          1       2      4           6            8           12
        head_words outcome status message_len metadata_len pushback_ms elapsed_us

        8*head_words
        message metadata [total] payload
    """

    id: int
    status: int = 0
    payload: bytes = b""
    total: int | None = None
    outcome: int = 0
    message: bytes = b""
    metadata: bytes = b""
    pushback_ms: int = 0
    elapsed_us: int = 0
    codec: int = 0
    compressor: int = 0

    def encode(self) -> bytes:
        sizes = (len(self.message), len(self.metadata))
        head = RESPONSE_HEAD.pack(2, self.outcome, self.status, *sizes, self.pushback_ms, self.elapsed_us)
        body = head + self.message + self.metadata + encode_total(self.total) + self.payload
        flags = 0 if self.total is None else FLAG_MORE
        return encode_frame(
            Kind.RESPONSE, body, flags=flags, id=self.id, codec=self.codec, compressor=self.compressor
        )


@dataclass(frozen=True, slots=True)
class Head:
    """The initial metadata of an answering stream; the body is metadata."""

    id: int
    metadata: bytes = b""

    def encode(self) -> bytes:
        return encode_frame(Kind.HEAD, self.metadata, id=self.id)


@dataclass(frozen=True, slots=True)
class Data:
    """A message of a stream, or a piece of any message. The first piece begins with u64 total."""

    id: int
    payload: bytes = b""
    total: int | None = None
    more: bool = False
    cont: bool = False
    codec: int = 0
    compressor: int = 0
    #: It waited for the window of its stream.
    waited: bool = False

    def encode(self) -> bytes:
        flags = (FLAG_MORE if self.more else 0) | (FLAG_CONT if self.cont else 0)
        flags |= FLAG_WAITED if self.waited else 0
        body = encode_total(self.total) + self.payload
        return encode_frame(
            Kind.DATA, body, flags=flags, id=self.id, codec=self.codec, compressor=self.compressor
        )

    @property
    def stream_cost(self) -> int:
        """Bytes taken from a stream window: a continuation brings no new queue entry, so no header."""
        body = len(self.payload) + (0 if self.total is None else TOTAL.size)
        return body if self.cont else HEADER.size + body


@dataclass(frozen=True, slots=True)
class End:
    """The caller sends nothing more."""

    id: int

    def encode(self) -> bytes:
        return encode_frame(Kind.END, id=self.id)


@dataclass(frozen=True, slots=True)
class Cancel:
    """The caller gives up: u16 reason, u16 0."""

    id: int
    reason: int = 0

    def encode(self) -> bytes:
        return encode_frame(Kind.CANCEL, CANCEL_BODY.pack(self.reason, 0), id=self.id)


@dataclass(frozen=True, slots=True)
class Credit:
    """More may be sent: u32 bytes."""

    id: int
    size: int

    def encode(self) -> bytes:
        return encode_frame(Kind.CREDIT, CREDIT_BODY.pack(self.size), id=self.id)


@dataclass(frozen=True, slots=True)
class Ping:
    """Eight bytes that come back with ACK."""

    content: bytes = bytes(8)
    ack: bool = False

    def encode(self) -> bytes:
        return encode_frame(Kind.PING, self.content, flags=FLAG_ACK if self.ack else 0)


@dataclass(frozen=True, slots=True)
class Goaway:
    """The end is near.

    ::

        0       8      10       12             16
        last_id reason text_len retry_after_ms text
    """

    last_id: int
    reason: int = 0
    final: bool = False
    retry_after_ms: int = 0
    text: bytes = b""

    def encode(self) -> bytes:
        body = GOAWAY_HEAD.pack(self.last_id, self.reason, len(self.text), self.retry_after_ms)
        return encode_frame(Kind.GOAWAY, body + self.text, flags=FLAG_FINAL if self.final else 0)


@dataclass(frozen=True, slots=True)
class Auth:
    """A credential or a challenge: u8 round, u8 scheme_len, u16 data_len, scheme, data."""

    scheme: bytes
    data: bytes = b""
    round: int = 0

    def encode(self) -> bytes:
        head = AUTH_HEAD.pack(self.round, len(self.scheme), len(self.data))
        return encode_frame(Kind.AUTH, head + self.scheme + self.data)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The server's answer to AUTH: u16 status, u16 message_len, u32 valid_seconds, message."""

    status: int = 0
    message: bytes = b""
    valid_seconds: int = 0

    def encode(self) -> bytes:
        head = VERDICT_HEAD.pack(self.status, len(self.message), self.valid_seconds)
        return encode_frame(Kind.AUTH, head + self.message, flags=FLAG_ACK)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A frame of an unknown kind that is not critical, or TEST."""

    kind: int
    size: int = 0

    def encode(self) -> bytes:
        return encode_frame(self.kind, bytes(self.size))


Frame = (
    SettingsFrame
    | Request
    | Response
    | Head
    | Data
    | End
    | Cancel
    | Credit
    | Ping
    | Goaway
    | Auth
    | Verdict
    | Skipped
)


def encode_total(total: int | None) -> bytes:
    """Return the prefix of the payload of a first piece, empty for a whole message."""
    return b"" if total is None else TOTAL.pack(total)


def decode_body(header: Header, body: bytes) -> Frame:
    """Read a body whose header passed the H checks; `WireError` where a B check fails."""
    return DECODERS[header.kind](header, body)


def require(condition: bool, text: str) -> None:
    if not condition:
        raise WireError(Reason.PROTOCOL, text)


def require_text(raw: bytes, name: str) -> None:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        raise WireError(Reason.PROTOCOL, f"{name} is not UTF-8") from None


def split_payload(header: Header, body: bytes, start: int, sizes: tuple[int, int]) -> tuple[bytes, ...]:
    """Split the bytes after a head into its two texts, and return them with the total and the payload."""
    middle, behind = start + sizes[0], start + sizes[0] + sizes[1]
    more = bool(header.flags & FLAG_MORE)
    needed = behind + (TOTAL.size if more else 0)
    require(needed <= len(body), f"the parts need {needed} bytes, the frame has {len(body)}")
    payload = body[needed:]
    if more:
        require_total(TOTAL.unpack_from(body, behind)[0], payload)
    return body[start:middle], body[middle:behind], body[behind:needed], payload


def require_total(total: int, payload: bytes) -> None:
    require(total > len(payload), f"total is {total}, the first piece already has {len(payload)}")


def read_total(raw: bytes) -> int | None:
    return TOTAL.unpack(raw)[0] if raw else None


def decode_request(header: Header, body: bytes) -> Request:
    words, attempt, priority, _, method_size, metadata_size, timeout = REQUEST_HEAD.unpack_from(body)
    require(words >= 2, f"head_words is {words}, at least 2 are needed")
    require(1 <= method_size <= METHOD_BYTES, f"the method has {method_size} bytes, 1 to 255 are allowed")
    method, metadata, total, payload = split_payload(header, body, words * 8, (method_size, metadata_size))
    return Request(
        id=header.id,
        method=method,
        payload=payload,
        total=read_total(total),
        flags=header.flags & 0xF0,
        codec=header.codec,
        compressor=header.compressor,
        attempt=attempt,
        priority=priority if priority <= HIGHEST_PRIORITY else 0,
        timeout_us=timeout,
        metadata=metadata,
        names=REQUEST_NAMES.unpack_from(body, REQUEST_HEAD.size)[0] if words >= 3 else 0,
    )


def decode_response(header: Header, body: bytes) -> Response:
    words, outcome, status, text_size, metadata_size, pushback, elapsed = RESPONSE_HEAD.unpack_from(body)
    require(words >= 2, f"head_words is {words}, at least 2 are needed")
    require(text_size <= MESSAGE_TEXT_BYTES, f"the text has {text_size} bytes, 4,096 are allowed")
    message, metadata, total, payload = split_payload(header, body, words * 8, (text_size, metadata_size))
    return Response(
        id=header.id,
        status=status if status <= HIGHEST_STATUS else UNKNOWN,
        payload=payload,
        total=read_total(total),
        outcome=min(outcome, UNKNOWN_OUTCOME),
        message=message,
        metadata=metadata,
        pushback_ms=pushback,
        elapsed_us=elapsed,
        codec=header.codec,
        compressor=header.compressor,
    )


def decode_data(header: Header, body: bytes) -> Data:
    more, cont = bool(header.flags & FLAG_MORE), bool(header.flags & FLAG_CONT)
    waited = bool(header.flags & FLAG_WAITED)
    whole = Data(header.id, body, None, more, cont, header.codec, header.compressor, waited)
    if cont or not more:
        return whole
    payload, total = body[TOTAL.size :], TOTAL.unpack_from(body)[0]
    require_total(total, payload)
    return dataclasses.replace(whole, payload=payload, total=total)


def decode_cancel(header: Header, body: bytes) -> Cancel:
    reason = CANCEL_BODY.unpack(body)[0]
    return Cancel(header.id, reason if reason <= HIGHEST_CANCEL_REASON else 0)


def decode_goaway(header: Header, body: bytes) -> Goaway:
    last_id, reason, text_size, retry = GOAWAY_HEAD.unpack_from(body)
    text = body[GOAWAY_HEAD.size :]
    require(text_size == len(text), f"text_len is {text_size}, the frame has {len(text)}")
    require(last_id <= HIGHEST_ID, f"last_id {last_id} is above 2**63 - 1")
    require_text(text, "GOAWAY text")
    return Goaway(last_id, reason, bool(header.flags & FLAG_FINAL), retry, text)


def decode_auth(header: Header, body: bytes) -> Auth | Verdict:
    if header.flags & FLAG_ACK:
        status, text_size, valid = VERDICT_HEAD.unpack_from(body)
        text = body[VERDICT_HEAD.size :]
        require(text_size == len(text), f"message_len is {text_size}, the frame has {len(text)}")
        require_text(text, "AUTH message")
        return Verdict(status, text, valid)
    number, scheme_size, data_size = AUTH_HEAD.unpack_from(body)
    rest = body[AUTH_HEAD.size :]
    require(scheme_size + data_size == len(rest), f"AUTH names {scheme_size} + {data_size} bytes")
    require(rest[:scheme_size].isascii(), "AUTH scheme is not ASCII")
    return Auth(rest[:scheme_size], rest[scheme_size:], number)


DECODERS: dict[int, Callable[[Header, bytes], Frame]] = {
    Kind.SETTINGS: lambda header, body: SettingsFrame(body, bool(header.flags & FLAG_ACK)),
    Kind.REQUEST: decode_request,
    Kind.RESPONSE: decode_response,
    Kind.HEAD: lambda header, body: Head(header.id, body),
    Kind.DATA: decode_data,
    Kind.END: lambda header, body: End(header.id),
    Kind.CANCEL: decode_cancel,
    Kind.CREDIT: lambda header, body: Credit(header.id, CREDIT_BODY.unpack(body)[0]),
    Kind.PING: lambda header, body: Ping(body, bool(header.flags & FLAG_ACK)),
    Kind.GOAWAY: decode_goaway,
    Kind.AUTH: decode_auth,
}
