"""The marshal of a method on the wire of gRPC: protobuf messages that follow the schema of its types."""

from collections.abc import Callable
from typing import Any

from fastrpc._core.payload.marshal import Marshal, PayloadCoders
from fastrpc._core.protobuf.message_decoder import MessageDecoder
from fastrpc._core.protobuf.message_encoder import MessageEncoder
from fastrpc.assigned_numbers import CODECS
from fastrpc.errors import EncodeError
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.marshals import codec_for, marshal_for, plain_coders, untyped_marshal
from fastrpc.rpc.protobuf.derivation import Derivation
from fastrpc.rpc.protobuf.messages import ProtoMessage
from fastrpc.rpc.protobuf.methods import method_messages

__all__ = ["message_marshal", "named_message_marshal"]


def message_marshal(definition: MethodDefinition, *, depth: int, items: int) -> Marshal:
    """Return the marshal of a method whose payloads are protobuf messages, prepared once.

    Methods with codec raw, and those of protobuf's own messages, have the marshal of every other wire: there a payload
    is the message as it is.

    Args:
        depth: deepest nesting of containers in a payload.
        items: most values in all containers of a payload.

    Raises:
        ConfigError: a type has no form in protobuf; the text names method, type and way out.
    """
    codec = codec_for(definition, "msgpack")
    if codec in {"raw", "protobuf"}:
        return marshal_for(definition, codec, depth=depth, items=items)
    key = ("grpc", depth, items, False, False)
    marshal: Marshal | None = definition.marshals.get(key)
    if marshal is None:
        marshal = definition.marshals[key] = _made(definition, depth, items)
    return marshal


def named_message_marshal(method: str, codec: str, *, depth: int, items: int) -> Marshal:
    """Return the marshal of a method known only by name: its messages are bytes, or with codec json values.

    Args:
        depth: deepest nesting of containers in a payload.
        items: most values in all containers of a payload.
    """
    if codec == "json":
        return untyped_marshal("json", method, depth=depth, items=items, by_value=True)
    coders = PayloadCoders(
        "protobuf",
        CODECS["protobuf"],
        encode=(_message_bytes,) * 3,
        decode=(bytes, bytes),
        exact=None,
        open=bytes,
        items=(),
        scan=(None, None, None),
    )
    return Marshal(method, None, coders, depth=depth, items=items)


def _message_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise EncodeError(
        "a method called by its name takes its message as bytes",
        hint='encode the message before, give codec="json" and its values, or call the method of a class',
    )


def _made(definition: MethodDefinition, depth: int, items: int) -> Marshal:
    found = method_messages(definition, Derivation())
    shape, plain = plain_coders(definition)

    def reader(message: ProtoMessage, in_row: bool = False) -> MessageDecoder:
        return MessageDecoder(message.compiled(), depth=depth, items=items, in_row=in_row)

    def writer(message: ProtoMessage, encode: Callable[[Any], bytes], in_row: bool = False) -> MessageEncoder:
        return MessageEncoder(message.compiled(), encode, in_row=in_row)

    coders = PayloadCoders(
        "protobuf",
        CODECS["protobuf"],
        encode=(
            writer(found.arguments, plain.encode_arguments, found.is_sole),
            writer(found.result, plain.encode_result),
            writer(found.request, plain.encode_message),
        ),
        decode=(plain.decode_result, plain.decode_message),
        exact=plain.exact,
        open=plain.open,
        items=plain.items,
        scan=(plain.scan_arguments, plain.scan_result, plain.scan_message),
    )
    coders.read_by(reader(found.arguments, found.is_sole), reader(found.result), reader(found.request))
    return Marshal(definition.full_name, shape, coders, depth=depth, items=items)
