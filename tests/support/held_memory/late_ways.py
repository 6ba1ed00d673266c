"""Ways in which handlers wait, and all continue in one turn of the loop."""

import json
from typing import Final

from tests.support.grpc_bytes import message, number_field
from tests.support.held_memory.way import (
    GRPC,
    HTTP,
    MANY,
    NATIVE,
    SOCKET,
    Way,
    grpcs,
    native,
    natives,
    post,
    rpc,
)
from tests.support.http_talk import request
from tests.support.socket_client import handshake
from tests.support.socket_frames import TEXT, client_frame
from tests.support.wire_layout import FLAG_STREAM_OUT

__all__ = ["LATE_WAYS"]

FEW: Final = 300

#: Sizes of an answer that is not large, of the details of an error, and of a message of a stream.
SMALL: Final = 60_000
DETAILS: Final = 7_000_000
MESSAGE: Final = 250_000

_WEB_MESSAGE: Final = message(number_field(DETAILS))
_ARGUMENTS: Final = json.dumps({"arguments": {"size": DETAILS}}).encode()


def _watches() -> list[bytes]:
    watches = [
        native(number, "fastrpc.store.watch", "written", flags=FLAG_STREAM_OUT) for number in range(20)
    ]
    return [b"".join(watches), native(20, "bench.write_later", MESSAGE)]


LATE_WAYS: Final[tuple[Way, ...]] = (
    # Answers
    Way(
        "small answers after a wait",
        "Memory.process_bytes",
        FEW,
        NATIVE,
        lambda: natives(100, "bench.give_later", SMALL),
    ),
    Way(
        "small errors after a wait",
        "Memory.process_bytes",
        FEW,
        NATIVE,
        lambda: natives(100, "bench.fail_later", SMALL),
    ),
    Way(
        "lists after a wait",
        "Memory.process_bytes",
        FEW,
        NATIVE,
        lambda: natives(20, "bench.list_later"),
    ),
    Way(
        "errors after a wait",
        "Memory.process_bytes",
        FEW,
        NATIVE,
        lambda: natives(4, "bench.fail_later", DETAILS),
    ),
    Way(
        "http errors after a wait",
        "Memory.process_bytes",
        FEW,
        HTTP,
        lambda: [post("/bench/fail_later", {"size": DETAILS})],
    ),
    Way(
        "json-rpc errors after a wait",
        "Memory.process_bytes",
        FEW,
        HTTP,
        lambda: [post("/jsonrpc", rpc("bench.fail_later", size=DETAILS))],
    ),
    Way(
        "errors over websocket after a wait",
        "Memory.process_bytes",
        FEW,
        SOCKET,
        lambda: [client_frame(TEXT, rpc("bench.fail_later", size=DETAILS)) * 4],
    ),
    Way(
        "connect errors after a wait",
        "Memory.process_bytes",
        FEW,
        HTTP,
        lambda: [post("/bench/fail_later", {"size": DETAILS}, Connect_Protocol_Version="1")],
    ),
    Way(
        "grpc-web errors after a wait",
        "Memory.process_bytes",
        FEW,
        HTTP,
        lambda: [post("/bench/fail_later", _WEB_MESSAGE, Content_Type="application/grpc-web+proto")],
    ),
    Way(
        "grpc errors after a wait",
        "Memory.process_bytes",
        FEW,
        GRPC,
        lambda: grpcs(4, "fail_later", number_field(DETAILS)),
    ),
    # Streams
    Way(
        "streams after a wait",
        "Memory.send_soft, process_bytes",
        FEW,
        NATIVE,
        lambda: natives(20, "bench.feed_later", MESSAGE, flags=FLAG_STREAM_OUT),
    ),
    Way(
        "streams over grpc after a wait",
        "Memory.send_soft, process_bytes",
        FEW,
        GRPC,
        lambda: grpcs(20, "feed_later", number_field(MESSAGE)),
    ),
    Way(
        "events after a wait",
        "Memory.send_soft, process_bytes",
        MANY,
        HTTP,
        lambda: [post("/bench/feed_later", {"size": DETAILS}, Accept="text/event-stream")],
    ),
    Way(
        "streams over websocket after a wait",
        "Memory.send_soft, process_bytes",
        MANY,
        b"",
        lambda: [handshake("/ws/bench/feed_later") + client_frame(TEXT, _ARGUMENTS)],
    ),
    Way(
        "store watches",
        "Memory.send_soft, process_bytes",
        FEW,
        NATIVE,
        lambda: _watches(),
    ),
    Way(
        "registry watches",
        "Memory.send_soft, process_bytes",
        FEW,
        NATIVE,
        lambda: natives(20, "fastrpc.registry.follow", "listed", flags=FLAG_STREAM_OUT),
    ),
    # Mounted applications
    Way(
        "mounts after a wait",
        "Memory.send_soft, process_bytes",
        FEW,
        HTTP,
        lambda: [request("GET", "/app/body")],
    ),
    Way(
        "mounted sockets after a wait",
        "Memory.send_soft, process_bytes",
        FEW,
        b"",
        lambda: [handshake("/app/socket")],
    ),
)
