"""The ways: the bytes of each connection, whether it reads, and the budget that bounds the server's memory.

Nothing here depends on the server's answers: each connection sends only bytes that are allowed before any answer.
"""

import gzip
import json
from typing import Final

import msgspec

from tests.support.grpc_bytes import number_field, text_field
from tests.support.grpc_bytes import request as grpc_request
from tests.support.held_memory.late_ways import LATE_WAYS
from tests.support.held_memory.way import (
    FEED,
    GRPC,
    GZIP,
    HTTP,
    KIB,
    LARGE,
    MANY,
    MIB,
    MSGPACK,
    NATIVE,
    RPCX,
    SOCKET,
    Way,
    grpcs,
    native,
    natives,
    post,
    rpc,
)
from tests.support.http2_frames import CONTINUATION as HEADERS_GO_ON
from tests.support.http2_frames import HEADERS, raw
from tests.support.http_talk import request
from tests.support.rpcx_wire import JSON, Frame, call
from tests.support.socket_frames import CONTINUATION, TEXT, client_frame
from tests.support.wire_frames import Data
from tests.support.wire_layout import FLAG_ONE_WAY, FLAG_STREAM_IN, FLAG_STREAM_OUT
from tests.support.wire_metadata import encode_metadata

__all__ = ["MIXED", "WAYS", "Way"]


def _bomb(value: object) -> bytes:
    return gzip.compress(msgspec.msgpack.encode(value), 9)


def _half_post(target: str, size: int) -> list[bytes]:
    head = request("POST", target, b"", Content_Length=str(size + 2))
    return [head + b'{"data":"', b"x" * (size - 64)]


_TEXT: Final = "x" * LARGE
_NOTE: Final = msgspec.msgpack.encode(["x" * 250 * KIB])


#: A call that waits, in a body that is long without it.
_WAITS: Final = rpc("bench.wait") + b" " * LARGE


def _stream_bombs() -> list[bytes]:
    parts, packed = [], _bomb(_TEXT)
    for number in range(100):
        parts.append(native(number, "bench.take", flags=FLAG_STREAM_IN))
        parts.append(Data(2 * number + 1, packed, codec=MSGPACK, compressor=GZIP).encode())
    return [b"".join(parts)]


def _untaken_messages() -> list[bytes]:
    message = msgspec.msgpack.encode("x" * 60_000)
    parts = []
    for number in range(20):
        parts.append(native(number, "bench.leave", flags=FLAG_STREAM_IN))
        parts.append(Data(2 * number + 1, message, codec=MSGPACK).encode())
    return [b"".join(parts)]


def _half_messages() -> list[bytes]:
    piece = b"x" * (250 * KIB)
    return [
        b"".join(native(number, "bench.hold", payload=piece, total=LARGE) for number in range(4)),
        *(
            Data(2 * number + 1, piece, more=True, cont=True).encode()
            for number in range(4)
            for _ in range(14)
        ),
    ]


def _half_grpcs() -> list[bytes]:
    """Return calls with the beginnings of messages, as many as windows take before anything is heard."""
    text, streams = text_field(_TEXT), range(3, 203, 2)
    return [b"".join(grpc_request("/bench/hold", text, stream=at, until=65_000) for at in streams)]


def _form(*parts: bytes) -> list[bytes]:
    """Return the head of a form that is never whole, and these parts of it."""
    kind = "multipart/form-data; boundary=XyZ"
    head = request("POST", "/bench/keep", b"", Content_Type=kind, Content_Length=str(LARGE))
    return [head, *[b"--XyZ\r\nContent-Disposition: form-data; name=%b\r\n" % part for part in parts]]


#: Ten fields. A text with a sign beyond U+FFFF takes four bytes a letter as a `str`.
_FIELDS: Final = ('"note"\r\n\r\n' + "x" * 60_000 + "\U0001f600").encode()
_LETTERS: Final = ('"note"\r\n\r\n' + "x" * 60_000).encode()
_FILE: Final = b'"file"; filename="a"\r\n\r\n'


def _form_of(field: bytes, *more: bytes) -> list[bytes]:
    return _form(*[field + b"\r\n"] * 10, *more)


#: As much as `Limits.metadata_bytes` takes.
_METADATA: Final = encode_metadata([(b"x", b"y" * 7_000)])

WAYS: Final[tuple[Way, ...]] = (
    # Answers that are not read
    Way(
        "native answers",
        "Memory.process_bytes, send_hard",
        60,
        NATIVE,
        lambda: natives(4, "bench.give", LARGE),
    ),
    Way(
        "native answers after a wait",
        "Memory.process_bytes",
        60,
        NATIVE,
        lambda: natives(4, "bench.give_later", LARGE),
    ),
    Way(
        "http answers",
        "Memory.process_bytes",
        MANY,
        HTTP,
        lambda: [request("GET", f"/bench/give?size={LARGE}")],
    ),
    Way(
        "http answers after a wait",
        "Memory.process_bytes",
        MANY,
        HTTP,
        lambda: [post("/bench/give_later", {"size": LARGE})],
    ),
    Way(
        "json-rpc answers",
        "Memory.process_bytes",
        240,
        HTTP,
        lambda: [post("/jsonrpc", rpc("bench.give_later", size=LARGE))],
    ),
    Way(
        "json-rpc batches",
        "Limits.message_bytes, Memory.process_bytes",
        240,
        HTTP,
        lambda: [
            post("/jsonrpc", b"[" + b",".join(rpc("bench.give", size=150_000) for _ in range(100)) + b"]")
        ],
    ),
    Way(
        "tools' answers",
        "Memory.process_bytes",
        240,
        HTTP,
        lambda: [post("/mcp", rpc("tools/call", name="bench_give", arguments={"size": LARGE // 2}))],
    ),
    Way(
        "answers over websocket",
        "Memory.process_bytes",
        240,
        SOCKET,
        lambda: [client_frame(TEXT, rpc("bench.give_later", size=LARGE)) * 4],
    ),
    Way(
        "rpcx answers",
        "Memory.process_bytes",
        60,
        RPCX,
        lambda: [call("bench", "give", LARGE, serialize=JSON).encode() * 4],
    ),
    Way(
        "rpcx answers after a wait",
        "Memory.process_bytes",
        60,
        RPCX,
        lambda: [call("bench", "give_later", LARGE, serialize=JSON).encode() * 4],
    ),
    Way("grpc answers", "Memory.process_bytes", 60, GRPC, lambda: grpcs(4, "give", number_field(LARGE))),
    Way(
        "grpc answers after a wait",
        "Memory.process_bytes",
        60,
        GRPC,
        lambda: grpcs(4, "give_later", number_field(LARGE)),
    ),
    # Compressed requests and messages
    Way(
        "native bombs",
        "Memory.process_bytes / 4",
        MANY,
        NATIVE,
        lambda: natives(1, "bench.hold", payload=_bomb([_TEXT]), compressor=GZIP),
    ),
    Way(
        "http bombs",
        "Memory.process_bytes / 4",
        MANY,
        HTTP,
        lambda: [
            post(
                "/bench/hold", gzip.compress(json.dumps({"data": _TEXT}).encode(), 9), Content_Encoding="gzip"
            )
        ],
    ),
    Way(
        "rpcx bombs",
        "Memory.process_bytes / 4",
        MANY,
        RPCX,
        lambda: [
            Frame(
                path="bench",
                method="hold",
                payload=gzip.compress(json.dumps(_TEXT).encode(), 9),
                compress=1,
                serialize=JSON,
            ).encode()
        ],
    ),
    Way(
        "grpc bombs",
        "Memory.process_bytes / 4",
        MANY,
        GRPC,
        lambda: grpcs(1, "hold", gzip.compress(text_field(_TEXT), 9), ("grpc-encoding", "gzip"), flags=1),
    ),
    Way("bombs in streams", "Memory.process_bytes", 10, NATIVE, _stream_bombs),
    # Requests that are not whole, or wait
    Way("half messages", "Memory.request_bytes, process_bytes", 100, NATIVE, _half_messages),
    Way("half bodies", "Memory.process_bytes", MANY, HTTP, lambda: _half_post("/bench/hold", LARGE)),
    Way("forms", "Memory.process_bytes", MANY, HTTP, lambda: _form_of(_FIELDS)),
    Way("forms of letters", "Memory.process_bytes", MANY, HTTP, lambda: _form_of(_LETTERS)),
    Way("forms of calls that wait", "Memory.process_bytes", MANY, HTTP, lambda: _form_of(_FIELDS, _FILE)),
    Way(
        "half messages over websocket",
        "Memory.process_bytes",
        MANY,
        SOCKET,
        lambda: [
            client_frame(TEXT, b'{"x":"' + b"x" * MIB, final=False),
            *[client_frame(CONTINUATION, b"x" * MIB, final=False)] * 13,
        ],
    ),
    Way("bodies of json-rpc", "Memory.process_bytes", 40, HTTP, lambda: [post("/jsonrpc", _WAITS)]),
    Way(
        "bodies of json-rpc over websocket",
        "Memory.process_bytes",
        10,
        SOCKET,
        lambda: [client_frame(TEXT, _WAITS)] * 4,
    ),
    Way(
        "half frames over rpcx",
        "Memory.process_bytes",
        MANY,
        RPCX,
        lambda: [call("bench", "hold", _TEXT, serialize=JSON).encode()[:-64]],
    ),
    Way(
        "half messages over grpc",
        "Limits.stream_window_bytes, Memory.process_bytes",
        100,
        GRPC,
        _half_grpcs,
    ),
    Way(
        "half header blocks of grpc",
        "Limits.metadata_bytes, Memory.process_bytes",
        MANY,
        GRPC,
        lambda: [
            b"".join(raw(kind, b"x" * 16_000, stream=3) for kind in (HEADERS, HEADERS_GO_ON, HEADERS_GO_ON))
        ],
    ),
    Way(
        "heads",
        "Limits.metadata_bytes, Admission.handshakes",
        MANY,
        b"",
        lambda: [
            b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (number, b"y" * 500) for number in range(60))
        ],
    ),
    Way("openings", "Admission.handshakes", MANY, b"", lambda: [NATIVE[:-20] + b"x" * 10]),
    Way(
        "held requests",
        "Memory.request_bytes, process_bytes",
        MANY,
        NATIVE,
        lambda: [native(number, "bench.hold", "x" * 250_000) for number in range(8)],
    ),
    Way(
        "one-way calls",
        "Memory.request_bytes, process_bytes",
        MANY,
        NATIVE,
        lambda: [native(number, "bench.hold", payload=_NOTE, flags=FLAG_ONE_WAY) for number in range(8)],
    ),
    Way("call records", "Memory.process_bytes", MANY, NATIVE, lambda: natives(1_000, "bench.wait")),
    Way(
        "metadata",
        "Memory.process_bytes",
        MANY,
        NATIVE,
        lambda: natives(200, "bench.wait", metadata=_METADATA),
    ),
    Way(
        "grpc metadata",
        "Memory.process_bytes",
        MANY,
        GRPC,
        lambda: grpcs(200, "wait", b"", ("x", "y" * 7_000)),
    ),
    # Streams
    Way(
        "untaken messages",
        "Limits.stream_window_bytes, Memory.process_bytes",
        MANY,
        NATIVE,
        _untaken_messages,
    ),
    Way(
        "unread streams",
        "Memory.send_soft, process_bytes",
        MANY,
        NATIVE,
        lambda: natives(20, "bench.feed", flags=FLAG_STREAM_OUT),
    ),
    Way(
        "unread events",
        "Memory.send_soft, process_bytes",
        MANY,
        HTTP,
        lambda: [request("GET", "/bench/feed", Accept="text/event-stream")],
    ),
    Way(
        "unread streams over websocket",
        "Memory.send_soft, process_bytes",
        MANY,
        b"",
        lambda: [FEED + client_frame(TEXT, b"{}")],
    ),
    Way(
        "untaken messages over grpc",
        "Limits.stream_window_bytes, Memory.process_bytes",
        MANY,
        GRPC,
        lambda: grpcs(20, "leave", text_field("x" * 60_000)),
    ),
    Way(
        "unread streams over grpc",
        "Memory.send_soft, process_bytes",
        MANY,
        GRPC,
        lambda: grpcs(20, "feed", b""),
    ),
    Way(
        "subscriptions",
        "Memory.process_bytes",
        MANY,
        NATIVE,
        lambda: natives(1_000, "fastrpc.health.watch", "", flags=FLAG_STREAM_OUT),
    ),
    Way(
        "files",
        "Memory.process_bytes",
        10,
        NATIVE,
        lambda: natives(1_000, "files.read", "large", flags=FLAG_STREAM_OUT),
    ),
    # Records of the server
    Way(
        "reflection",
        "Memory.send_soft, process_bytes",
        MANY,
        NATIVE,
        lambda: natives(100, "fastrpc.reflection.services"),
    ),
    Way(
        "logs",
        "Memory.process_bytes",
        MANY,
        NATIVE,
        lambda: [native(number, "bench.fail", "x" * 100_000) for number in range(20)],
        reads=True,
    ),
    Way(
        "unknown methods",
        "Memory.process_bytes",
        MANY,
        NATIVE,
        lambda: [b"".join(native(number, f"bench.x{number}{'y' * 200}") for number in range(200))],
    ),
    *LATE_WAYS,
)

#: Ways side by side, each from a share of its connections.
MIXED: Final = tuple(way.name for way in WAYS)
