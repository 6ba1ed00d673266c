"""Encode and decode the values of messages: JSON, bytes, or protobuf.

JSON is decoded strictly to a type; bytes are not changed. The header `content-type` says which of the three a value is.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from fastrpc.brokers.base import HEADER_BYTES, MESSAGE_BYTES, Delivery
from fastrpc.brokers.base.texts import OWN_PREFIX, bytes_of, checked_headers, copied_headers
from fastrpc.errors import ConfigError, DecodeError, EncodeError
from fastrpc.rpc.coders import is_protobuf
from fastrpc.rpc.json_values import encode_json, json_decoder, json_encoder, undecoded, unencoded
from fastrpc.rpc.schema.annotation import type_text
from fastrpc.user_code import plain_error

__all__ = ["CONTENT_TYPE", "decoder_of", "encode_message", "readable_headers"]

#: The header that states the encoding of a value.
CONTENT_TYPE: Final = "content-type"

_BYTES: Final = "application/octet-stream"
_JSON: Final = "application/json"
#: The content type that Connect uses for protobuf messages.
_PROTOBUF: Final = "application/proto"

_is_message_type: Final[Callable[[Any], bool]] = lru_cache(maxsize=256)(is_protobuf)

_BYTES_LIKE: Final = (bytes, bytearray, memoryview)


def encode_message(
    topic: str, value: Any, kind: Any, headers: Mapping[str, str] | None
) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a message.

    Args:
        kind: the type of the topic; None: the encoding depends on the value.
        headers: the headers that the publisher gave. For a value of bytes they may state a content type.

    Raises:
        EncodeError: the value cannot be encoded as JSON; or either the value or the type is bytes or protobuf, and the
            other is not. Other mismatches are not checked.
        ConfigError: body or headers are too long, or a header is reserved for fastrpc.
    """
    form, encode = _JSON, _encoder_of(kind) if type(value) is kind else None
    if encode is None:
        form, body = _encode(value, kind, f"the message for {topic!r}")
    else:
        # Most messages have no other header.
        try:
            body = encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise unencoded(error, f"the message for {topic!r}") from error
    if len(body) > MESSAGE_BYTES:
        raise ConfigError(
            f"the message for {topic!r} has {len(body)} bytes, the limit is {MESSAGE_BYTES}",
            hint="store large values elsewhere, and publish a reference",
        )
    if not headers:
        return body, {CONTENT_TYPE: form}
    kept = checked_headers(headers)
    if kept.setdefault(CONTENT_TYPE, form) != form and form != _BYTES:
        raise ConfigError(
            f"the header {CONTENT_TYPE} is {kept[CONTENT_TYPE]!r}, this value is {form}",
            hint="leave the header out, or publish bytes",
        )
    size = sum(len(name) + len(bytes_of(text, f"the header {name!r}")) for name, text in kept.items())
    if size > HEADER_BYTES:
        raise ConfigError(
            f"the headers of the message for {topic!r} have {size} bytes, the limit is {HEADER_BYTES}"
        )
    return body, kept


def decoder_of(kind: Any) -> Callable[[Delivery], Any]:
    """Return the function that decodes the values of deliveries to a type.

    Args:
        kind: the type; None: JSON becomes plain data, all other values stay bytes.

    Raises:
        ConfigError: values of this type cannot be decoded.
    """
    if kind is bytes:
        return _body
    if is_protobuf(kind):
        return _strict(kind, _PROTOBUF, kind.FromString)
    wanted = Any if kind is None else kind
    decode = _strict(wanted, _JSON, json_decoder(wanted, "a message"))
    if kind is not None:
        return decode
    return lambda delivery: decode(delivery) if _form(delivery) == _JSON else delivery.body


def readable_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers without the names that are reserved for fastrpc."""
    for name in headers:
        if name.startswith(OWN_PREFIX):
            return {name: text for name, text in headers.items() if not name.startswith(OWN_PREFIX)}
    return headers if type(headers) is dict else copied_headers(headers)


def _encode(value: Any, kind: Any, name: str) -> tuple[str, bytes]:
    """Return the content type and the bytes of a value."""
    is_bytes = isinstance(value, _BYTES_LIKE)
    is_message = not is_bytes and _is_message_type(type(value))
    if kind is not None and (is_bytes or is_message or kind is bytes or _is_message_type(kind)):
        # Check this here: subscribers would refuse the value, too, but only later.
        fits = is_bytes if kind is bytes else _is_message_type(kind) and isinstance(value, kind)
        if not fits:
            raise EncodeError(
                f"{name} is a {type(value).__name__}, but the topic has the type {type_text(kind)}"
            )
    if is_bytes:
        return _BYTES, bytes(value)
    if is_message:
        return _PROTOBUF, value.SerializeToString()
    return _JSON, encode_json(value, name)


def _json_encoder_of(kind: type[Any]) -> Callable[[Any], bytes] | None:
    """Return the encoder of a class, see `json_encoder`; None if its values cannot be JSON."""
    return None if issubclass(kind, _BYTES_LIKE) or is_protobuf(kind) else json_encoder(kind)


_encoder_of: Final[Callable[[Any], Callable[[Any], bytes] | None]] = lru_cache(maxsize=256)(_json_encoder_of)


def _strict(kind: Any, form: str, decode: Callable[[bytes], Any]) -> Callable[[Delivery], Any]:
    """Return a decoder that refuses values with another content type. Values without a content type are accepted."""

    def decoded(delivery: Delivery) -> Any:
        if delivery.headers.get(CONTENT_TYPE) != form and (found := _form(delivery)) not in ("", form):
            raise DecodeError(f"{_shown(delivery)} is {found}, {form} is expected")
        try:
            return decode(delivery.body)
        except BaseException as error:
            # Catch every exception: the checks of a user's class may raise anything. `decode_json` is not used here, as
            # it needs the name of each message in advance.
            raise undecoded(plain_error(error, type_text(kind)), kind, _shown(delivery)) from error

    return decoded


def _shown(delivery: Delivery) -> str:
    return f"the message {delivery.id!r} of {delivery.topic!r}"


def _body(delivery: Delivery) -> bytes:
    return delivery.body


def _form(delivery: Delivery) -> str:
    """Return the content type of a value without parameters; "" if no header states it."""
    return delivery.headers.get(CONTENT_TYPE, "").partition(";")[0].strip().lower()
