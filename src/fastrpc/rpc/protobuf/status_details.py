"""Details of errors as a google.rpc.Status: `grpc-status-details-bin`, by the schema of protobuf messages.

::

    message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
"""

import logging
import re
from typing import Any, Final

import msgspec

from fastrpc._core.protobuf.message_decoder import MessageDecoder
from fastrpc._core.protobuf.message_encoder import MessageEncoder
from fastrpc.errors import CodecError
from fastrpc.rpc.protobuf.messages import ANY, VALUE, ProtoField, ProtoMessage, packed
from fastrpc.types.any_message import AnyMessage

__all__ = ["decode_details", "encode_details", "messages_in"]

logger = logging.getLogger("fastrpc.server")

_TYPE_PREFIX: Final = "type.googleapis.com/"
_VALUE_TYPE: Final = "google.protobuf.Value"

#: Levels of lists and objects that are read.
_DEPTH: Final = 100
#: The size of a header block limits the bytes of details, so the number of items needs no limit.
_ITEMS: Final = 1 << 40
#: An unpaired surrogate, which cannot be encoded as UTF-8.
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
#: Integers up to here are exact as a double.
_EXACT: Final = 2**53


def _status() -> ProtoMessage:
    made = ProtoMessage("Status", "row")
    made.fields = [
        ProtoField("code", 1, "int32"),
        # The kind is bytes, so that the details can be read even if the message is not UTF-8.
        ProtoField("message", 2, "bytes"),
        ProtoField("details", 3, "message", "repeated", message=ANY),
    ]
    for field in made.fields:
        field.absent = field.zero()
    return made


_STATUS: Final = _status().compiled()
_write_status: Final = MessageEncoder(_STATUS, packed)
_read_status: Final = MessageDecoder(_STATUS, depth=_DEPTH, items=_ITEMS)
_unpacked_status: Final = msgspec.msgpack.Decoder(tuple[int, bytes, list[AnyMessage]]).decode
_write_value: Final = MessageEncoder(VALUE.compiled(), packed)
_read_value: Final = MessageDecoder(VALUE.compiled(), depth=_DEPTH, items=_ITEMS)
_unpacked: Final = msgspec.msgpack.Decoder().decode


def encode_details(status: int, message: str, details: Any) -> bytes | None:
    """Return the google.rpc.Status of an error; None if it has no details, or details that no message can hold.

    Protobuf messages, AnyMessage and lists of these are sent unchanged. Another value becomes a google.protobuf.Value.
    """
    if details is None:
        return None
    try:
        return _write_status((status, message.encode("utf-8", "replace"), _messages_of(details)))
    except (CodecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        logger.warning("the details of an error are left out: no protobuf message holds them (%s)", error)
        return None


def _messages_of(details: Any) -> list[AnyMessage]:
    if _is_message(details):
        return [_any_of(details)]
    if isinstance(details, list | tuple) and details and all(map(_is_message, details)):
        return [_any_of(detail) for detail in details]
    value = _write_value(_exact(msgspec.to_builtins(details, str_keys=True)))
    return [AnyMessage(_TYPE_PREFIX + _VALUE_TYPE, value)]


def _is_message(value: Any) -> bool:
    return isinstance(value, AnyMessage) or all(
        hasattr(value, name) for name in ("SerializeToString", "DESCRIPTOR")
    )


def _any_of(message: Any) -> AnyMessage:
    if isinstance(message, AnyMessage):
        return message
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Any":
        return AnyMessage(message.type_url, message.value)
    return AnyMessage(_TYPE_PREFIX + name, message.SerializeToString())


def _exact(value: Any) -> Any:
    """Return a plain value in which integers beyond the exact range of a double are text, as in protobuf's JSON."""
    if isinstance(value, dict):
        return {_exact(key): _exact(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_exact(held) for held in value]
    if isinstance(value, str):
        # A copy only if it is needed: of details of megabytes each copy grows the heap of a server.
        has_surrogate = not value.isascii() and _SURROGATE.search(value)
        return value.encode("utf-8", "replace").decode() if has_surrogate else value
    return str(value) if isinstance(value, int) and not -_EXACT <= value <= _EXACT else value


def decode_details(data: bytes) -> Any:
    """Return the details in a google.rpc.Status; None for broken bytes or without details.

    A single google.protobuf.Value is returned as its plain value, anything else as a list of AnyMessage.
    """
    try:
        found = messages_in(data)
        if len(found) == 1 and found[0].type_url.rpartition("/")[2] == _VALUE_TYPE:
            return _unpacked(_read_value(found[0].value))
    except (CodecError, msgspec.DecodeError, ValueError):
        return None
    return found or None


def messages_in(data: bytes) -> list[AnyMessage]:
    """Return the messages in a google.rpc.Status.

    Raises:
        CodecError, msgspec.DecodeError, ValueError: the bytes are broken.
    """
    return _unpacked_status(_read_status(data))[2]
