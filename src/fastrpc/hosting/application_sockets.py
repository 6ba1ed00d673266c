"""Serve WebSocket scopes: convert ASGI messages to client frames, and frames of the engine to ASGI messages."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

from fastrpc.hosting.application_answers import EngineAnswer
from fastrpc.hosting.application_requests import FIELDS_OF_BODY, opened_transport, request_head
from fastrpc.hosting.application_transport import ExchangeTransport, Surroundings

__all__ = ["answer_socket"]

_TEXT: Final = 1
_BINARY: Final = 2
_CLOSE: Final = 8
_PING: Final = 9
_PONG: Final = 10

_FINAL: Final = 0x80
_MASKED: Final = 0x80
#: The number of bytes of an extended length, by the 7-bit length in the second byte of a frame.
_LENGTHS: Final = {126: 2, 127: 8}

#: A mask that changes no byte, as the frames are never sent over a network.
_MASK: Final = bytes(4)

#: Close codes of RFC 6455, section 7.4.1. _NO_CODE: the frame had no code. _POLICY_VIOLATION: the code of a refusal.
_NO_CODE: Final = 1005
_POLICY_VIOLATION: Final = 1008

#: The status of an accepted handshake.
_SWITCHING_PROTOCOLS: Final = 101

#: Fields of the client's handshake with the ASGI server, which are left out: the engine gets `_HANDSHAKE` instead.
_OF_HANDSHAKE: Final = FIELDS_OF_BODY | {
    f"sec-websocket-{name}".encode() for name in ("extensions", "key", "protocol", "version")
}
#: Fields of the engine's answer that the ASGI server writes itself.
_OF_ACCEPTANCE: Final = frozenset({b"sec-websocket-accept", b"sec-websocket-protocol"})
_HANDSHAKE: Final = (
    (b"connection", b"upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
)

logger = logging.getLogger("fastrpc.server")


async def answer_socket(
    surroundings: Surroundings,
    scope: Mapping[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
) -> None:
    """Serve the WebSocket of a scope."""
    # Skip the event of the handshake: the scope has all its data.
    await receive()
    transport = opened_transport(surroundings, scope)
    reading = surroundings.parts.loop.create_task(_pass_on(transport, _handshake(scope), receive))
    try:
        first = await _accept(transport, scope, send)
        end = None if first is None else await _send_messages(transport, send, first)
        # Cancel the task first, since granian does not close a WebSocket while a task waits in `receive`.
        reading.cancel()
        await asyncio.wait([reading])
        if end is not None:
            await send(end)
    except OSError:
        logger.debug("the client of a WebSocket to fastrpc.asgi is gone", exc_info=True)
    finally:
        reading.cancel()
        transport.abort()


def _handshake(scope: Mapping[str, Any]) -> bytes:
    offered = ", ".join(scope.get("subprotocols") or ()).encode("latin-1", "replace")
    protocols = ((b"sec-websocket-protocol", offered),) if offered else ()
    return request_head(scope, "GET", _OF_HANDSHAKE, _HANDSHAKE + protocols) + b"\r\n"


async def _pass_on(
    transport: ExchangeTransport, handshake: bytes, receive: Callable[[], Awaitable[Any]]
) -> None:
    """Pass the handshake and all messages to the engine. Close the transport once the client has disconnected."""
    try:
        await transport.feed(handshake)
        while (event := await receive())["type"] == "websocket.receive":
            text, content = event.get("text"), event.get("bytes")
            if text is not None:
                # Encode surrogates unchanged: the engine then refuses the text, because it is not UTF-8.
                await transport.feed(_client_frame(_TEXT, text.encode("utf-8", "surrogatepass")))
            else:
                await transport.feed(_client_frame(_BINARY, content or b""))
    except Exception:
        logger.exception("the messages of a WebSocket to fastrpc.asgi cannot be read")
    transport.abort()


async def _accept(
    transport: ExchangeTransport, scope: Mapping[str, Any], send: Callable[[Any], Awaitable[None]]
) -> bytes | None:
    """Accept or refuse the handshake like the engine. Return the bytes after its answer, or None if it refused."""
    answer = EngineAnswer(is_head=False)
    events: list[dict[str, Any]] = []
    while not answer.is_whole:
        events += answer.take(await transport.read())
    if answer.status != _SWITCHING_PROTOCOLS:
        if "websocket.http.response" in (scope.get("extensions") or {}):
            for event in events:
                await send(event | {"type": f"websocket.{event['type']}"})
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
        return None
    chosen = dict(answer.fields).get(b"sec-websocket-protocol")
    await send(
        {
            "type": "websocket.accept",
            "subprotocol": None if chosen is None else chosen.decode("ascii"),
            "headers": [(name, value) for name, value in answer.fields if name not in _OF_ACCEPTANCE],
        }
    )
    return answer.rest


async def _send_messages(
    transport: ExchangeTransport, send: Callable[[Any], Awaitable[None]], data: bytes
) -> dict[str, Any] | None:
    """Send the engine's messages; return the event of its close frame, or None if it sent no close frame.

    Without that event the ASGI server drops the connection.
    """
    kept = bytearray(data)
    while True:
        for opcode, content in _frames(kept):
            if opcode == _TEXT:
                await send({"type": "websocket.send", "text": content.decode()})
            elif opcode == _BINARY:
                await send({"type": "websocket.send", "bytes": content})
            elif opcode == _PING:
                # Answer the engine's ping here, since only the ASGI server can ping the client.
                transport.push(_client_frame(_PONG, content))
            elif opcode == _CLOSE:
                code = int.from_bytes(content[:2], "big") if content else _NO_CODE
                return {"type": "websocket.close", "code": code, "reason": content[2:].decode()}
        data = await transport.read()
        if not data:
            return None
        kept += data


def _frames(kept: bytearray) -> Iterator[tuple[int, bytes]]:
    """Remove and yield the complete frames at the start of these bytes. The engine neither masks nor splits frames."""
    while len(kept) >= 2:
        length_bytes = _LENGTHS.get(kept[1], 0)
        begin = 2 + length_bytes
        size = int.from_bytes(kept[2:begin], "big") if length_bytes else kept[1]
        if len(kept) < begin + size:
            return
        opcode, content = kept[0] & ~_FINAL, bytes(kept[begin : begin + size])
        del kept[: begin + size]
        yield opcode, content


def _client_frame(opcode: int, content: bytes) -> bytes:
    size = len(content)
    if size < 126:
        length = bytes((_MASKED | size,))
    elif size < 65_536:
        length = bytes((_MASKED | 126,)) + size.to_bytes(2, "big")
    else:
        length = bytes((_MASKED | 127,)) + size.to_bytes(8, "big")
    return bytes((_FINAL | opcode,)) + length + _MASK + content
