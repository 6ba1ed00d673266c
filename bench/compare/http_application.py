"""The two methods of the HTTP workloads without a framework: JSON by msgspec, under ASGI and RSGI."""

from typing import Any

import msgspec

from bench.compare.http_load import HELLO, HELLO_PATH, RECORD_PATH

__all__ = ["asgi_application", "rsgi_application"]


class Record(msgspec.Struct):
    """The typed record of the workloads."""

    id: int
    name: str
    score: float
    tags: list[str]


_decode = msgspec.json.Decoder(Record).decode
_encode = msgspec.json.Encoder().encode


def _answer(path: str, body: bytes) -> tuple[int, bytes]:
    if path == RECORD_PATH:
        return 200, _encode(_decode(body))
    if path == HELLO_PATH:
        return 200, _encode(HELLO)
    return 404, b"null"


async def asgi_application(scope: Any, receive: Any, send: Any) -> None:
    """Serve under ASGI, without a lifespan."""
    message = await receive()
    body = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    status, answer = _answer(scope["path"], body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def rsgi_application(scope: Any, protocol: Any) -> None:
    """Serve under RSGI."""
    body = await protocol()
    status, answer = _answer(scope.path, body)
    protocol.response_bytes(status, [("content-type", "application/json")], answer)
