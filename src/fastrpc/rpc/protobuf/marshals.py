"""The marshal of a method for gRPC, whose payloads are protobuf messages derived from the method's types."""

from collections.abc import Callable
from typing import Any

from fastrpc._core.payload.coders import PayloadCoders
from fastrpc._core.payload.marshal import Marshal
from fastrpc._core.protobuf.message_decoder import MessageDecoder
from fastrpc._core.protobuf.message_encoder import MessageEncoder
from fastrpc.assigned_numbers import CODECS
from fastrpc.errors import ConfigError, EncodeError
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.marshals import codec_for, marshal_for, plain_coders, shape_of, untyped_marshal
from fastrpc.rpc.protobuf.derivation import Derivation
from fastrpc.rpc.protobuf.json_decoder import JsonDecoder
from fastrpc.rpc.protobuf.json_encoder import JsonEncoder
from fastrpc.rpc.protobuf.messages import ProtoMessage
from fastrpc.rpc.protobuf.methods import MethodMessages, method_messages
from fastrpc.rpc.protobuf.own_messages import own_json_coders
from fastrpc.rpc.protobuf.packages import EnumNames, ProtoPackage
from fastrpc.rpc.service import service_definition
from fastrpc.rpc.shared_results import encoded_once

__all__ = ["message_marshal", "named_message_marshal"]


def message_marshal(
    definition: MethodDefinition, *, depth: int, items: int, as_json: bool = False
) -> Marshal:
    """Return the marshal of a method whose payloads are protobuf messages. It is created once.

    A method with codec raw or generated protobuf messages has the same marshal as for other protocols, because its
    payload is already the encoded message. With `as_json` every method has a separate marshal.

    Args:
        depth: the deepest nesting of containers in a payload.
        items: the most values in all containers of a payload.
        as_json: True if payloads are the JSON of the messages.

    Raises:
        ConfigError: protobuf or its JSON cannot express a type; the text names method, type and remedy.
    """
    codec = codec_for(definition, "msgpack")
    if codec in {"raw", "protobuf"} and not as_json:
        return marshal_for(definition, codec, depth=depth, items=items)
    # The last two items are `by_value` and `by_name`, because `marshal_for` stores its marshals in the same table.
    key = ("grpc+json" if as_json else "grpc", depth, items, False, False)
    marshal: Marshal | None = definition.marshals.get(key)
    if marshal is None:
        make_json = _own_json_marshal if codec in {"raw", "protobuf"} else _json_marshal
        make = make_json if as_json else _message_marshal
        marshal = definition.marshals[key] = make(definition, depth, items)
    return marshal


def named_message_marshal(method: str, codec: str, *, depth: int, items: int) -> Marshal:
    """Return the marshal for a method of which only the name is known. Messages are bytes, or values with codec json.

    Args:
        depth: the deepest nesting of containers in a payload.
        items: the most values in all containers of a payload.
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
    if value is None:
        return b""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise EncodeError(
        "a method called by its name takes its message as bytes",
        hint='encode the message before, give codec="json" and its values, or call the method of a class',
    )


def _message_marshal(definition: MethodDefinition, depth: int, items: int) -> Marshal:
    found = method_messages(definition, Derivation())

    def reader(message: ProtoMessage, in_row: bool = False) -> MessageDecoder:
        return MessageDecoder(message.compiled(), depth=depth, items=items, in_row=in_row)

    def writer(message: ProtoMessage, encode: Callable[[Any], bytes], in_row: bool = False) -> MessageEncoder:
        return MessageEncoder(message.compiled(), encode, in_row=in_row)

    return _made(definition, found, "protobuf", (reader, writer), (depth, items))


def _own_json_marshal(definition: MethodDefinition, depth: int, items: int) -> Marshal:
    coders = own_json_coders(definition, depth)
    if coders is None:
        raise ConfigError(f"{definition.full_name} has generated messages, which have no JSON here")
    return Marshal(
        definition.full_name, shape_of(definition), coders, depth=depth, items=items, by_value="whole"
    )


def _json_marshal(definition: MethodDefinition, depth: int, items: int) -> Marshal:
    # Names of enums must be unique in the whole service.
    service = service_definition(definition.owner)
    package = ProtoPackage(service.names.grpc_service.rpartition(".")[0], [service])
    names = EnumNames(package)
    found = package.messages_of(definition)

    def reader(message: ProtoMessage, in_row: bool = False) -> Callable[[Any], bytes]:
        decode = JsonDecoder(message, names, depth=depth, items=items, in_row=in_row)
        if message is found.arguments and definition.kind in {"client_stream", "both_ways"}:
            # The call of a method with a stream starts without a message, because it has no arguments.
            return lambda payload: decode(payload or b"{}")
        return decode

    def writer(message: ProtoMessage, encode: Callable[[Any], bytes], in_row: bool = False) -> JsonEncoder:
        return JsonEncoder(message, names, encode, in_row=in_row)

    return _made(definition, found, "json", (reader, writer), (depth, items))


def _made(
    definition: MethodDefinition,
    found: MethodMessages,
    codec: str,
    make: tuple[Callable[..., Callable[[Any], bytes]], Callable[..., Callable[[Any], bytes]]],
    bounds: tuple[int, int],
) -> Marshal:
    """Return the marshal of a method; `make` has functions that create the reader and the writer of a message."""
    (reader, writer), (depth, items) = make, bounds
    shape, plain = plain_coders(definition)
    coders = PayloadCoders(
        codec,
        CODECS[codec],
        encode=(
            writer(found.arguments, plain.encode_arguments, found.is_sole),
            encoded_once(writer(found.result, plain.encode_result), definition.types().result),
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
