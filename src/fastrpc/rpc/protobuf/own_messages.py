"""The JSON of generated protobuf messages, by the package that generated their classes."""

from collections.abc import Callable
from typing import Any

from fastrpc._core.payload.coders import PayloadCoders
from fastrpc.assigned_numbers import CODECS
from fastrpc.codecs.base import codec_named
from fastrpc.errors import DecodeError
from fastrpc.rpc.coders import is_protobuf
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.schema.scans import scan_for

__all__ = ["own_json_coders"]


def own_json_coders(definition: MethodDefinition, depth: int) -> PayloadCoders | None:
    """Return the JSON coders of a method with generated messages; None if their classes are unknown."""
    known = definition.types()
    takes_stream = definition.kind in {"client_stream", "both_ways"}
    request = known.message if takes_stream else next(iter(known.parameters), None)
    if not is_protobuf(request) or not (is_protobuf(known.result) or _serializes(definition)):
        return None
    scan = scan_for(codec_named("json"), (Any,))
    decode = _reader(request, depth)
    return PayloadCoders(
        "json",
        CODECS["json"],
        encode=(_written,) * 3,
        # If the class of results is unknown, this program only sends results and decodes none.
        decode=(_reader(known.result, depth) if is_protobuf(known.result) else None, decode),
        exact=None,
        open=bytes,
        items=() if takes_stream else (decode,),
        scan=(scan, scan, scan),
    )


def _serializes(definition: MethodDefinition) -> bool:
    """Return whether a served method sends protobuf messages of an unknown class: generated code does not state it."""
    given = definition.given_coders
    if given is None or given.decode_result is not None:
        return False
    return getattr(given.encode, "__name__", None) == "SerializeToString"


def _written(message: Any) -> bytes:
    from google.protobuf.json_format import MessageToJson

    text: str = MessageToJson(message, indent=None, ensure_ascii=False)
    return text.encode()


def _reader(kind: Any, depth: int) -> Callable[[bytes], Any]:
    def read(payload: bytes) -> Any:
        from google.protobuf.json_format import Parse, ParseError

        try:
            return Parse(bytes(payload), kind(), max_recursion_depth=depth)
        except (ParseError, UnicodeDecodeError) as error:
            raise DecodeError(str(error)) from None

    return read
