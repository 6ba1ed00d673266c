"""Bytes for tests: sound frames with useful defaults, whole openings, cut messages, and lies."""

from collections.abc import Mapping
from typing import Any

from tests.support.wire_frames import Credit, Data, Request, Response, SettingsFrame
from tests.support.wire_layout import CONNECTION_WINDOW, FLOOR_WINDOW, HEADER, Kind
from tests.support.wire_parser import Preface
from tests.support.wire_settings import encode_settings, usual

__all__ = [
    "answer",
    "cut",
    "early_opening",
    "header",
    "opening",
    "piece",
    "raw_body",
    "request",
    "settings",
]

METHOD = b"arith.mul"


def settings(is_server: bool, changes: Mapping[int, Any] | None = None) -> bytes:
    """Return the SETTINGS that a side announces by default, with changes."""
    return SettingsFrame(encode_settings(usual(is_server) | dict(changes or {}))).encode()


def early_opening(is_server: bool, changes: Mapping[int, Any] | None = None) -> bytes:
    """Return the first bytes of a side: preface, SETTINGS and the raised connection window."""
    credit = Credit(0, CONNECTION_WINDOW - FLOOR_WINDOW).encode()
    return Preface().encode() + settings(is_server, changes) + credit


def opening(is_server: bool, changes: Mapping[int, Any] | None = None) -> bytes:
    """Return all that a side sends until the connection stands, its ACK included."""
    return early_opening(is_server, changes) + SettingsFrame(ack=True).encode()


def request(id: int = 1, payload: bytes = b"", **fields: Any) -> bytes:
    """Return a REQUEST."""
    return Request(id, fields.pop("method", METHOD), payload, **fields).encode()


def answer(id: int = 1, payload: bytes = b"", **fields: Any) -> bytes:
    """Return a RESPONSE, with status OK by default."""
    return Response(id, fields.pop("status", 0), payload, **fields).encode()


def piece(id: int, payload: bytes, *, more: bool = False) -> bytes:
    """Return a DATA frame that continues a message."""
    return Data(id, payload, more=more, cont=True).encode()


def cut(first: Request | Response | Data, piece_bytes: int) -> list[bytes]:
    """Cut a whole message into a first piece and continuations of at most `piece_bytes`."""
    payload = first.payload
    parts = [payload[start : start + piece_bytes] for start in range(0, len(payload), piece_bytes)]
    fields = {name: getattr(first, name) for name in first.__slots__} | {
        "payload": parts[0],
        "total": len(payload),
    }
    if isinstance(first, Data):
        fields["more"] = True
    frames = [type(first)(**fields).encode()]
    frames += [piece(first.id, part, more=True) for part in parts[1:-1]]
    return [*frames, piece(first.id, parts[-1])]


def header(kind: int, length: int, *, flags: int = 0, id: int = 0, codec: int = 0) -> bytes:
    """Return a header alone, whose length may lie."""
    return HEADER.pack(length, kind, flags, codec, 0, id)


def raw_body(kind: Kind, body: bytes, *, flags: int = 0, id: int = 0) -> bytes:
    """Return a frame with a body of one's own."""
    return header(kind, len(body), flags=flags, id=id) + body
