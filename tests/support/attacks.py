"""Attacks by HTTP/1.1, WebSocket, the native protocol and rpcx as a process (`attacking`).

    python -m tests.support.attacks PORT NAME…

They are tried on the application `CODE`, and attacks of strangers on the application with tokens, `GUARDED`.
"""

import gzip
import itertools
from collections.abc import Callable

import msgspec

from tests.support.attacking import Attack, Pieces, again, run, then_silence
from tests.support.colliding import colliding_numbers
from tests.support.colliding_payloads import json_map, packed_map
from tests.support.frame_factory import opening
from tests.support.http_talk import request
from tests.support.raw_streams import CLIENT_STREAM, NO_LIMIT, SERVER_STREAM
from tests.support.rpcx_wire import JSON, MSGPACK, Frame
from tests.support.socket_client import handshake
from tests.support.socket_frames import CONTINUATION, PING, TEXT, client_frame
from tests.support.wire_frames import Auth, Cancel, Credit, Data, Request

__all__ = ["ATTACKS", "CODE", "GUARDED", "STRANGERS", "TOKEN"]

TOKEN = "secret-of-ada"

_SERVICE = """
from collections.abc import AsyncIterator
from typing import Any
import fastrpc
from fastrpc import HTTP, Identity, ServerConfig, Upload
from fastrpc.auth import Policy, StaticTokens

@fastrpc.service("shop")
class Shop:
    @fastrpc.method(safe=True, tool=True)
    async def count(self, text: str = "abc") -> int:
        return len(text)

    @fastrpc.method
    async def note(self, value: Any) -> int:
        return 1

    @fastrpc.method
    async def take(self, texts: AsyncIterator[str]) -> int:
        return len([text async for text in texts])

    @fastrpc.method
    async def give(self) -> AsyncIterator[str]:
        for number in range(100):
            yield f"{number}" * 1_000

    @fastrpc.method
    async def store(self, file: Upload, note: str = "") -> int:
        return sum([len(piece) async for piece in file])

async def mounted(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"secret"})

config = ServerConfig(
    protocols=("native", "http", "rpcx"),
    http=HTTP(websocket=True, mcp=True, mounts={"/app": mounted}, %s),
)
"""

#: An application that anybody may call, and one that callers with a token may call.
CODE = _SERVICE % "" + "app = fastrpc.App([Shop], config=config)\n"
GUARDED = (
    _SERVICE % "mount_authenticated=True"
    + f'''
tokens = StaticTokens({{"{TOKEN}": Identity("ada"), "secret-of-bob": Identity("bob")}})
policy = Policy([{{"who": ["ada"], "allow": ["**"]}}, {{"who": ["bob"], "allow": ["shop.count"]}}])
app = fastrpc.App([Shop], authenticate=tokens, authorize=policy, config=config)
'''
)

KIB, MIB = 1 << 10, 1 << 20

#: Values that no codec decodes, or only at a price: cut off, deep, numerous, with keys that collide.
_PACKED = (
    b"\xc1",
    b"\xd6\x01\x00\x00",
    b"\xdd\xff\xff\xff\xff",
    b"\x91" * 5_000 + b"\xc0",
    b"\xdd" + (100_000).to_bytes(4, "big") + b"\x80" * 100_000,
    packed_map(colliding_numbers(15, 3_000, 3_000)),
)
_WRITTEN = (b"[" * 5_000, b"[" + b"{}," * 100_000 + b"0]", json_map(colliding_numbers(15, 3_000, 3_000)))

#: Some kilobytes that are more than a message may be, unpacked.
_BOMB = gzip.compress(b'"' + bytes(20 * MIB) + b'"')


# HTTP/1.1


def post(path: str, body: bytes = b"", **fields: str | None) -> bytes:
    return request("POST", path, body, **fields)


def endless(frames: bytes, first: bytes = b"") -> Callable[[], Pieces]:
    """Return a function that sends the same bytes repeatedly, a few kilobytes at once."""
    times = max(1, 16 * KIB // len(frames))
    return lambda: again(frames, first, times=times)


def once(*pieces: bytes) -> Callable[[], Pieces]:
    return lambda: then_silence(pieces)


_CHUNKED = post("/shop/count", Transfer_Encoding="chunked", Content_Length=None)
_MULTIPART = "multipart/form-data; boundary=XyZ"
_FILE = b'--XyZ\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
_NOTE = b'--XyZ\r\nContent-Disposition: form-data; name="note"'
_TOOLS = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/list"}

_FORMS = {
    "line_ends": b"\r\n" * 500_000 + _FILE,
    "dashes": b"-" * 500_000 + _FILE,
    "fields_of_a_head": b"--XyZ\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\n",
    "spaces": b"--XyZ" + b" " * 500_000 + b"\r\n",
    "parts": b"".join(_NOTE + b"\r\n\r\n%d\r\n" % number for number in range(1_000)),
    "quotes": _NOTE + b'; a="\\"' * 1_000 + b"\r\n\r\na\r\n--XyZ--\r\n",
    "beginnings_of_boundaries": _FILE + b"\r\n--Xy" * 300_000 + b"\r\n--XyZ--\r\n",
}

_HTTP: dict[str, Callable[[], Pieces]] = {
    "wrong_ends_of_chunks": once(_CHUNKED + b"3\r\nabcX\r\n0\r\n\r\n"),
    "sizes_of_chunks_without_end": endless(b"0", _CHUNKED),
    "chunks_of_one_byte": endless(b"1\r\na\r\n", _CHUNKED),
    "heads_without_end": endless(b"X-A: b\r\n", b"GET / HTTP/1.1\r\n"),
    "heads_of_one_byte": lambda: itertools.chain(
        [b"GET / HTTP/1.1\r\n"], (bytes((byte,)) for byte in b"X-A: b\r\n" * 100_000)
    ),
    "many_trailers": endless(_CHUNKED + b"0\r\n" + b"X-A: b\r\n" * 3_000 + b"\r\n"),
    "odd_lengths": once(post("/shop/count", Content_Length="+9")),
    "pages_of_strangers_at_tools": endless(
        post("/mcp", b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', Host="evil.example", **_TOOLS)
    ),
    "pages_of_strangers_at_a_mount": endless(request("GET", "/app/", Host="evil.example")),
    "ranges": endless(
        request("GET", "/shop/count?text=abc", Range="bytes=" + ",".join(f"{at}-{at}" for at in range(700)))
    ),
    "members_of_gzip": endless(post("/shop/count", gzip.compress(b"") * 16_000, Content_Encoding="gzip")),
    "bombs": endless(post("/shop/count", _BOMB, Content_Encoding="gzip")),
    "unknown_paths": endless(post("/shop/none", b"{}")),
    "upgrades_with_a_body": endless(handshake("/ws/shop/take", Content_Length="5") + b"hello"),
    **{
        f"forms_of_{name}": endless(post("/shop/store", form, Content_Type=_MULTIPART))
        for name, form in _FORMS.items()
    },
    **{
        f"values_of_json_{number}": endless(post("/shop/note", b'{"value":' + value + b"}"))
        for number, value in enumerate(_WRITTEN)
    },
    **{
        f"values_of_msgpack_by_http_{number}": endless(
            post("/shop/note", b"\x81\xa5value" + value, Content_Type="application/msgpack")
        )
        for number, value in enumerate(_PACKED)
    },
}

# WebSocket

_TAKES = handshake("/ws/shop/take") + client_frame(TEXT, b'{"arguments":{}}')
_BEGUN = _TAKES + client_frame(TEXT, b'{"x":"', final=False)

_SOCKETS: dict[str, Callable[[], Pieces]] = {
    "small_messages": endless(client_frame(TEXT, b'{"value":""}'), _TAKES),
    "unfinished_messages": endless(client_frame(CONTINUATION, b"x" * 1_000, final=False), _BEGUN),
    "empty_continuations": endless(client_frame(CONTINUATION, b"", final=False), _BEGUN),
    "frames_that_state_too_much": once(_TAKES + b"\x81\xff" + (2**62).to_bytes(8, "big") + bytes(4)),
    "packed_frames": once(_TAKES + client_frame(TEXT, b"x", reserved=4)),
    "unmasked_frames": once(_TAKES + client_frame(TEXT, b"x", is_masked=False)),
    "pings_of_a_socket": endless(client_frame(PING, b"x" * 100), _TAKES),
}

# The native protocol


def requests(
    method: bytes, *payloads: bytes, behind: Callable[[int], bytes] = lambda id: b"", **fields: int
) -> Pieces:
    """Yield requests, each with the bytes that come after it."""
    fields = {"codec": 1, "timeout_us": NO_LIMIT, **fields}
    for id, payload in zip(itertools.count(1, 2), itertools.cycle(payloads), strict=False):
        yield Request(id, method, payload, **fields).encode() + behind(id)


def in_array(values: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(b"\x91" + value for value in values)


_OPENING = opening(False)
_TAKE = Request(1, b"shop.take", b"\x90", flags=CLIENT_STREAM, codec=1, timeout_us=NO_LIMIT).encode()
_FIRST = _TAKE + Data(1, b"x", codec=1, more=True).encode()
_TEXT = b"\x91" + msgspec.msgpack.encode("abc")

#: Frames of zstd without a checksum: the text in one block, and in two.
_UNSUMMED = (
    bytes.fromhex("28b52ffd 20 05 290000") + _TEXT,
    bytes.fromhex("28b52ffd 20 05 100000") + _TEXT[:2] + bytes.fromhex("190000") + _TEXT[2:],
)

_NATIVE: dict[str, Callable[[], Pieces]] = {
    "odd_credit": endless(Credit(1, 2**32 - 1).encode() + Credit(99, 0).encode(), _TAKE),
    "messages_without_end": endless(Data(1, b"x" * 1_000, more=True, cont=True).encode(), _FIRST),
    "empty_pieces": endless(Data(1, b"", more=True, cont=True).encode(), _FIRST),
    "values_of_msgpack": lambda: requests(b"shop.note", *in_array(_PACKED)),
    "values_in_json": lambda: requests(b"shop.note", *(b"[%b]" % value for value in _WRITTEN), codec=2),
    "packed_requests": lambda: requests(b"shop.note", _BOMB, codec=2, compressor=1),
    "frames_of_zstd_without_a_sum": lambda: requests(b"shop.count", *_UNSUMMED, compressor=3),
    "cancelled_requests": lambda: requests(b"shop.count", _TEXT, behind=lambda id: Cancel(id).encode()),
    "streams_that_are_not_read": lambda: requests(b"shop.give", b"\x90", flags=SERVER_STREAM),
    "methods_that_are_not_there": lambda: requests(b"shop.none", _TEXT),
    "frames_of_nonsense": once(b"\xff" * 1_000),
}

# rpcx


def rpcx(payload: bytes, **fields: object) -> bytes:
    given: dict[str, object] = {"path": "shop", "method": "note", "payload": payload, **fields}
    return Frame(**given).encode()  # type: ignore[arg-type]


_GO: dict[str, Callable[[], Pieces]] = {
    "packed_requests_by_rpcx": endless(rpcx(_BOMB, compress=1, serialize=JSON)),
    "heartbeats_of_rpcx": endless(rpcx(b"", heartbeat=True)),
    "methods_that_rpcx_has_not": endless(rpcx(b'"a"', method="none", serialize=JSON)),
    "frames_of_rpcx_that_state_too_much": once(rpcx(b"")[:12] + b"\x7f\xff\xff\xff"),
    **{
        f"values_of_msgpack_by_rpcx_{number}": endless(rpcx(value, serialize=MSGPACK))
        for number, value in enumerate(_PACKED)
    },
}

#: Attacks that read none of the server's bytes.
_DEAF = {"unknown_paths", "streams_that_are_not_read", "heartbeats_of_rpcx"}

ATTACKS = {
    **{name: Attack(pieces, is_deaf=name in _DEAF) for name, pieces in (_HTTP | _SOCKETS | _GO).items()},
    **{name: Attack(pieces, _OPENING, is_deaf=name in _DEAF) for name, pieces in _NATIVE.items()},
}

# Strangers, and a caller without the right: from a host of their own, as wrong tokens slow down the callers of a host

_WRONG = {"Authorization": "Bearer wrong"}

STRANGERS = {
    "wrong_tokens_by_http": Attack(endless(post("/shop/count", b"{}", **_WRONG)), source="127.0.0.2"),
    "odd_tokens_by_http": Attack(
        endless(post("/shop/count", b"{}", Authorization=f"Bearer {'e30.' * 2_000}")), source="127.0.0.2"
    ),
    "strangers_at_a_mount": Attack(endless(request("GET", "/app/", **_WRONG)), source="127.0.0.2"),
    "packed_frames_of_strangers": Attack(
        once(_TAKES + client_frame(TEXT, b"x", reserved=4) * 1_000), source="127.0.0.2"
    ),
    "wrong_tokens": Attack(once(Auth(b"bearer", b"wrong").encode() * 100), _OPENING, source="127.0.0.2"),
    "calls_without_a_token": Attack(lambda: requests(b"shop.count", _TEXT), _OPENING, source="127.0.0.2"),
    "calls_without_the_right": Attack(
        lambda: requests(b"shop.note", _TEXT),
        _OPENING + Auth(b"bearer", b"secret-of-bob").encode(),
        source="127.0.0.2",
    ),
    "packed_requests_of_strangers": Attack(
        endless(rpcx(_BOMB, compress=1, serialize=JSON, metadata={"__AUTH": "Bearer wrong"})),
        source="127.0.0.2",
    ),
}

if __name__ == "__main__":
    run(ATTACKS | STRANGERS)
