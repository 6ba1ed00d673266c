"""A way to hold memory, and the bytes that ways are made of."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import msgspec

from tests.support.frame_factory import opening
from tests.support.grpc_bytes import number_field
from tests.support.grpc_bytes import request as grpc_request
from tests.support.http2_frames import OPENING
from tests.support.http_talk import request
from tests.support.rpcx_wire import JSON, call
from tests.support.socket_client import handshake
from tests.support.wire_frames import Request
from tests.support.wire_layout import NO_TIMEOUT

__all__ = [
    "FEED",
    "GRPC",
    "GZIP",
    "HTTP",
    "KIB",
    "LARGE",
    "MANY",
    "MIB",
    "MSGPACK",
    "NATIVE",
    "RPCX",
    "SOCKET",
    "Way",
    "grpcs",
    "native",
    "natives",
    "post",
    "rpc",
]

KIB, MIB = 1024, 1024 * 1024

#: Nearly the largest message.
LARGE: Final = 15_000_000
MSGPACK, GZIP = 1, 1
MANY: Final = 1_000


@dataclass(frozen=True, eq=False)
class Way:
    """One way to make a server hold memory."""

    name: str
    #: The setting that bounds it.
    budget: str
    connections: int
    #: Sent at first, and answered; empty: such a connection says nothing until the attack.
    opening: bytes
    #: Makes the bytes that are sent when the attack begins: seconds of compression, which a reader of the names does
    #: not wait for.
    make_parts: Callable[[], Sequence[bytes]]
    #: Whether the connection reads the server's bytes then.
    reads: bool = False
    #: Whether it connects again, and again sends everything, where the server ends it.
    again: bool = True

    @cached_property
    def parts(self) -> Sequence[bytes]:
        """Return the bytes that are sent when the attack begins."""
        return self.make_parts()


def native(call_id: int, method: str, *arguments: object, **fields: object) -> bytes:
    payload = fields.pop("payload", None)
    encoded = msgspec.msgpack.encode(arguments) if payload is None else payload
    given = {"codec": MSGPACK, "timeout_us": NO_TIMEOUT, **fields}
    return Request(2 * call_id + 1, method.encode(), encoded, **given).encode()  # type: ignore[arg-type]


def natives(count: int, method: str, *arguments: object, **fields: object) -> list[bytes]:
    return [b"".join(native(number, method, *arguments, **fields) for number in range(count))]


def post(target: str, body: object, **fields: str) -> bytes:
    return request("POST", target, body, **fields)


def rpc(method: str, **params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def grpcs(count: int, method: str, payload: bytes, *fields: tuple[str, str], flags: int = 0) -> list[bytes]:
    streams = range(3, 3 + 2 * count, 2)
    requests = [grpc_request(f"/bench/{method}", payload, *fields, stream=at, flags=flags) for at in streams]
    return [b"".join(requests)]


NATIVE: Final = opening(is_server=False)
HTTP: Final = request("GET", "/bench/give?size=1")
RPCX: Final = call("bench", "give", 1, serialize=JSON).encode()
GRPC: Final = OPENING + grpc_request("/bench/give", number_field(1))
SOCKET: Final = handshake("/jsonrpc")
FEED: Final = handshake("/ws/bench/feed")
