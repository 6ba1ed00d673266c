"""Tables of messages for tests of the codec, without types of Python."""

from typing import Any

import msgspec

from fastrpc._core.protobuf.message import MessageSchema
from fastrpc._core.protobuf.message_decoder import MessageDecoder
from fastrpc._core.protobuf.message_encoder import MessageEncoder
from fastrpc.rpc.protobuf.messages import ProtoField, ProtoMessage

__all__ = ["decoded", "encoded", "field", "message"]

DEPTH, ITEMS = 20, 1_000


def field(name: str, number: int, kind: str, shape: str = "single", **attributes: Any) -> ProtoField:
    """Return a field whose absence is the zero of its type, unless `attributes` say otherwise."""
    found = ProtoField(name, number, kind, shape, message=attributes.pop("message", None))
    found.absent = found.zero()
    for attribute, value in attributes.items():
        setattr(found, attribute, value)
    return found


def message(*fields: ProtoField, form: str = "map", head: bytes = b"") -> MessageSchema:
    """Return the table of a message."""
    found = ProtoMessage("Sample", form, head=head)
    found.fields = list(fields)
    return found.compiled()


def decoded(table: MessageSchema, payload: bytes, *, depth: int = DEPTH, items: int = ITEMS) -> Any:
    """Return the plain value of a message."""
    return msgspec.msgpack.decode(MessageDecoder(table, depth=depth, items=items)(payload))


def encoded(table: MessageSchema, value: Any) -> bytes:
    """Return the message of a plain value."""
    return MessageEncoder(table, msgspec.msgpack.encode)(value)
