"""Golden bytes: each frame of PROTOCOL.md as a file that reads without our code.

`python -m tests.support.golden` writes the files; a test compares them with the bytes of the reference.
"""

import re
import struct
from pathlib import Path

from tests.support.wire_arrays import WireArray, packed_array
from tests.support.wire_frames import (
    Auth,
    Cancel,
    Credit,
    Data,
    End,
    Frame,
    Goaway,
    Head,
    Ping,
    Request,
    Response,
    SettingsFrame,
    Skipped,
    Verdict,
)
from tests.support.wire_layout import (
    FLAG_IDEMPOTENT,
    FLAG_ONE_WAY,
    FLAG_STREAM_IN,
    FLAG_STREAM_OUT,
    HEADER,
    HIGHEST_ID,
    NO_TIMEOUT,
    Kind,
)
from tests.support.wire_metadata import encode_metadata
from tests.support.wire_names import names_told
from tests.support.wire_parser import Preface
from tests.support.wire_settings import Setting, encode_settings

__all__ = ["ARRAY", "FOLDER", "GOLDEN", "golden_bytes", "golden_text", "read_golden", "write_golden"]

FOLDER = Path(__file__).resolve().parent.parent / "golden"

BOTH_WAYS = FLAG_STREAM_IN | FLAG_STREAM_OUT
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

ARRAY = WireArray("<f8", (2,), struct.pack("<2d", 1.0, 2.0))

CLIENT_SETTINGS = {
    Setting.MAX_FRAME: 262_144,
    Setting.MAX_MESSAGE: 16_777_216,
    Setting.STREAM_WINDOW: 65_536,
    Setting.CODECS: ((0, b"raw"), (1, b"msgpack")),
    Setting.MIN_PING_MS: 500,
    Setting.AGENT: "golden",
}

SERVING_SETTINGS = CLIENT_SETTINGS | {
    Setting.MAX_CALLS: 100,
    Setting.MAX_STREAMS: 10,
    Setting.CLIENT_ID: bytes(range(16)),
}

SERVER_SETTINGS = {
    Setting.MAX_FRAME: 262_144,
    Setting.MAX_CALLS: 10_000,
    Setting.MAX_STREAMS: 1_000,
    Setting.CODECS: ((0, b"raw"), (1, b"msgpack")),
    Setting.WORKERS: 4,
}

#: File name -> the text at the top of the file, and the frame.
GOLDEN: dict[str, tuple[str, Preface | Frame]] = {
    "preface_client": ("The client speaks version 1 only.", Preface(1, 1)),
    "preface_none_in_common": ("The server's answer when no version is in common.", Preface(0, 1)),
    "settings": ("The first SETTINGS of a client.", SettingsFrame(encode_settings(CLIENT_SETTINGS))),
    "settings_serving": (
        "The first SETTINGS of a client that serves calls as well.",
        SettingsFrame(encode_settings(SERVING_SETTINGS)),
    ),
    "settings_workers": (
        "The first SETTINGS of a server with four workers.",
        SettingsFrame(encode_settings(SERVER_SETTINGS)),
    ),
    "settings_ack": ("SETTINGS were read.", SettingsFrame(ack=True)),
    "request": (
        "Call 1: arith.mul(6, 7) in msgpack, one second left.",
        Request(1, b"arith.mul", b"\x92\x06\x07", codec=1, timeout_us=1_000_000),
    ),
    "request_traced": (
        "Call 3: the second attempt of an idempotent call, with metadata.",
        Request(
            3,
            b"shop.v1.stock.level",
            b"\x91\xa3tea",
            flags=FLAG_IDEMPOTENT,
            codec=1,
            attempt=1,
            metadata=encode_metadata([(b"traceparent", TRACE), (b"shard-bin", b"\x00\xff")]),
        ),
    ),
    "request_array": (
        "Call 17: maths.mean of the array [1.0, 2.0], whose values lie at byte 32 of the payload.",
        Request(17, b"maths.mean", b"\x91" + packed_array(ARRAY, before=1), codec=1),
    ),
    "request_names": (
        "Call 15: bank.transfer(source, target, cents) tells the names of its three positions.",
        Request(
            15,
            b"bank.transfer",
            b"\x93\xa2me\xa3you\x01",
            codec=1,
            timeout_us=1_000_000,
            names=names_told(("source", "target", "cents")),
        ),
    ),
    "request_stream": (
        "Call 5: streams both ways, no time limit.",
        Request(5, b"chat.join", b"\x90", flags=BOTH_WAYS, codec=1, timeout_us=NO_TIMEOUT),
    ),
    "request_one_way": (
        "Call 7, one-way.",
        Request(7, b"log.write", b"hello", flags=FLAG_ONE_WAY),
    ),
    "request_first_piece": (
        "Call 9: the first 4 of 2,000 bytes.",
        Request(9, b"blob.put", b"\x01\x02\x03\x04", total=2_000),
    ),
    "response": ("Call 1 gives 42 after 250 microseconds.", Response(1, 0, b"\x2a", codec=1, elapsed_us=250)),
    "response_refused": (
        "Call 3 was refused before it started; come back in 1.5 s.",
        Response(3, 8, outcome=1, message=b"too many calls: 10,000", pushback_ms=1_500),
    ),
    "response_first_piece": (
        "Call 9: an answer of 5 bytes, cut after 2.",
        Response(9, 0, b"\xaa\xbb", total=5),
    ),
    "head": ("Call 5: the answering stream begins.", Head(5, encode_metadata([(b"room", b"garden")]))),
    "data": ("Call 5: a whole message of a stream.", Data(5, b"\xa2hi", codec=1)),
    "data_empty": ("Call 5: an empty message of a stream.", Data(5)),
    "data_waited": (
        "Call 5: a message that waited for the window of its stream.",
        Data(5, b"\xa2hi", codec=1, waited=True),
    ),
    "data_first_piece": (
        "Call 5: the first 2 of 3 bytes of a stream message.",
        Data(5, b"ab", total=3, more=True),
    ),
    "data_last_piece": ("The last piece of the message that is open on call 5.", Data(5, b"c", cont=True)),
    "end": ("Call 5: the caller sends nothing more.", End(5)),
    "cancel": ("Call 5: its deadline passed.", Cancel(5, 1)),
    "credit_connection": ("The connection window rises from 65,536 to 16 MiB.", Credit(0, 16_711_680)),
    "credit_stream": ("Call 5 may send 32 KiB more.", Credit(5, 32_768)),
    "ping": ("Are you there?", Ping(b"12345678")),
    "ping_ack": ("I am.", Ping(b"12345678", ack=True)),
    "goaway_drain": ("Step 1 of a drain: open nothing new.", Goaway(HIGHEST_ID)),
    "goaway_final": ("Step 2: nothing above call 9 was started.", Goaway(9, final=True)),
    "goaway_error": (
        "A connection error: frame size.",
        Goaway(9, 3, True, 0, b"a frame of 300000 bytes, the limit is 262144"),
    ),
    "auth": ("The client shows a token.", Auth(b"bearer", b"s3cret")),
    "auth_challenge": ("The server asks back.", Auth(b"scram", b"r=nonce", 1)),
    "auth_verdict": ("Accepted for an hour.", Verdict(0, b"", 3_600)),
    "test": ("A frame without a meaning; skip it.", Skipped(Kind.TEST, 3)),
}

#: Names and sizes of the fixed fields at the start of each body.
FIELDS: dict[int, tuple[tuple[str, int], ...]] = {
    Kind.REQUEST: (
        ("head_words", 1),
        ("attempt", 1),
        ("priority", 1),
        ("reserved", 1),
        ("method_len", 2),
        ("metadata_len", 2),
        ("timeout_us", 8),
    ),
    Kind.RESPONSE: (
        ("head_words", 1),
        ("outcome", 1),
        ("status", 2),
        ("message_len", 2),
        ("metadata_len", 2),
        ("pushback_ms", 4),
        ("elapsed_us", 4),
    ),
    Kind.CANCEL: (("reason", 2), ("reserved", 2)),
    Kind.CREDIT: (("bytes", 4),),
    Kind.GOAWAY: (("last_id", 8), ("reason", 2), ("text_len", 2), ("retry_after_ms", 4)),
    Kind.AUTH: (("round", 1), ("scheme_len", 1), ("data_len", 2)),
}
VERDICT_FIELDS = (("status", 2), ("message_len", 2), ("valid_seconds", 4))
HEADER_FIELDS = (("length", 4), ("kind", 1), ("flags", 1), ("codec", 1), ("compressor", 1), ("id", 8))
PREFACE_FIELDS = (("lowest", 1), ("highest", 1), ("features", 2))

Line = tuple[bytes, str]


def golden_bytes(name: str) -> bytes:
    """Return the bytes of an example, written by the reference."""
    return GOLDEN[name][1].encode()


def golden_text(name: str) -> str:
    """Return the file of an example: hex on the left, offset, field and value on the right."""
    title, frame = GOLDEN[name]
    lines = preface_lines(frame) if isinstance(frame, Preface) else frame_lines(frame)
    assert b"".join(raw for raw, _ in lines) == frame.encode(), name
    out = [f"# {title}", "#", "# bytes".ljust(52) + "# offset  field"]
    offset = 0
    for raw, text in lines:
        for start in range(0, len(raw), 16):
            row = raw[start : start + 16]
            note = f"# {offset + start:6}  {text}" if start == 0 else "#"
            out.append(f"{row.hex(' ').ljust(51)} {note}")
        offset += len(raw)
    return "\n".join(out) + "\n"


def read_golden(name: str) -> bytes:
    """Read the bytes of a file: everything before the # of each line."""
    text = (FOLDER / f"{name}.hex").read_text(encoding="utf-8")
    return bytes.fromhex(re.sub(r"#.*", "", text))


def write_golden() -> None:
    """Write all files, and remove those that are no longer named."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.hex"):
        if old.stem not in GOLDEN:
            old.unlink()
    for name in GOLDEN:
        (FOLDER / f"{name}.hex").write_text(golden_text(name), encoding="utf-8")


def split_fields(raw: bytes, fields: tuple[tuple[str, int], ...]) -> list[Line]:
    """Cut fixed fields off the front and say their values."""
    lines = []
    offset = 0
    for name, size in fields:
        part = raw[offset : offset + size]
        lines.append((part, f"{name} = {int.from_bytes(part, 'little'):,}"))
        offset += size
    return lines


def preface_lines(preface: Preface) -> list[Line]:
    raw = preface.encode()
    return [(raw[:4], "magic"), *split_fields(raw[4:], PREFACE_FIELDS)]


def frame_lines(frame: Frame) -> list[Line]:
    raw = frame.encode()
    header, body = raw[: HEADER.size], raw[HEADER.size :]
    lines = split_fields(header, HEADER_FIELDS)
    lines[1] = (lines[1][0], f"kind = {Kind(header[4]).name}")
    lines[2] = (lines[2][0], f"flags = {header[5]:#04x}")
    return lines + [line for line in body_lines(frame, body) if line[0]]


def body_lines(frame: Frame, body: bytes) -> list[Line]:
    match frame:
        case SettingsFrame():
            return settings_lines(body)
        case Request() | Response():
            return message_lines(frame, body)
        case Data(total=int()):
            return [*split_fields(body, (("total", 8),)), (body[8:], "payload")]
        case Data():
            return [(body, "payload")]
        case Head():
            return metadata_lines(body)
        case Goaway():
            return [*split_fields(body, FIELDS[Kind.GOAWAY]), (frame.text, "text")]
        case Auth():
            fields = split_fields(body, FIELDS[Kind.AUTH])
            return [*fields, (frame.scheme, "scheme"), (frame.data, "data")]
        case Verdict():
            return [*split_fields(body, VERDICT_FIELDS), (frame.message, "message")]
        case Cancel():
            return split_fields(body, FIELDS[Kind.CANCEL])
        case Credit():
            return split_fields(body, FIELDS[Kind.CREDIT])
        case _:
            return [(body, "content")]


def message_lines(frame: Request | Response, body: bytes) -> list[Line]:
    kind = Kind.REQUEST if isinstance(frame, Request) else Kind.RESPONSE
    text, name = (frame.method, "method") if isinstance(frame, Request) else (frame.message, "message")
    fields = FIELDS[kind]
    if isinstance(frame, Request) and frame.names:
        fields += (("names", 8),)
    lines = [*split_fields(body, fields), (text, f"{name} = {text.decode()!r}")]
    lines += metadata_lines(frame.metadata)
    if frame.total is not None:
        lines += split_fields(frame.total.to_bytes(8, "little"), (("total", 8),))
    return [*lines, (frame.payload, "payload")]


def metadata_lines(block: bytes) -> list[Line]:
    lines = []
    while block:
        key, value = block[0], int.from_bytes(block[2:4], "little")
        lines += split_fields(block, (("key length", 1), ("reserved", 1), ("value length", 2)))
        lines += [(block[4 : 4 + key], f"key = {block[4 : 4 + key].decode()!r}")]
        lines += [(block[4 + key : 4 + key + value], "value")]
        block = block[4 + key + value :]
    return lines


def settings_lines(body: bytes) -> list[Line]:
    names = {number: name for name, number in vars(Setting).items() if name.isupper()}
    lines = []
    while body:
        name, size = int.from_bytes(body[:2], "little"), int.from_bytes(body[2:4], "little")
        lines.append((body[:2], f"name = {names[name]}"))
        lines.append((body[2:4], f"value length = {size}"))
        lines.append((body[4 : 4 + size], "value"))
        body = body[4 + size :]
    return lines


if __name__ == "__main__":
    write_golden()
